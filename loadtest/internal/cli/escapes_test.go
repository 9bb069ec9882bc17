package cli

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
)

// TestInvalidEscapes sends what net/http's server would reject, as some applications expect it.
func TestInvalidEscapes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	lines := make(chan string, 100)
	var server sync.WaitGroup
	server.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			for in := bufio.NewScanner(c); in.Scan() && in.Text() != ""; {
				if strings.HasPrefix(in.Text(), "GET") {
					lines <- in.Text()
				}
			}
			_, _ = c.Write([]byte("HTTP/1.0 200 OK\r\n\r\n"))
			_ = c.Close()
		}
	})
	for _, target := range []string{"/100%", "/%zz?100%", "/a b"} {
		for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
			_, errs, code := call(t.Context(), "-q", "-transport", transport, listener.Addr().String()+target)
			if target == "/a b" {
				assert.Equal(t, exitUsage, code)
				assert.Equal(t, "loadtest: the URL must not have spaces or control characters: write a space as %20\n", errs)
				continue
			}
			require.Equal(t, exitOK, code, errs)
			assert.Equal(t, "GET "+target+" HTTP/1.1", <-lines)
		}
	}
	require.NoError(t, listener.Close())
	server.Wait()
}
