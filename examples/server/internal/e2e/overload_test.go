package e2e_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/server"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// With more clients than may wait, some queries are answered and the others rejected at once; none hangs. Once the load
// has gone, all queries are answered.
func TestOverloadIsShed(t *testing.T) {
	s := newTestbed(t, pgtest.URL(t), 2000)
	s.prober.stop()
	require.NoError(t, s.stop())
	cfg := s.cfg
	cfg.MaxWaiting, cfg.QueryTimeout = 50, config.Defaults().QueryTimeout // a busy machine is no outage
	r := startReady(t, cfg)
	calm := toxic("latency", "downstream", map[string]int{"latency": 20})(t, s) // reads take long, so many queries wait
	load := startProber(t, r)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var others sync.WaitGroup
	for range 200 {
		others.Go(func() {
			for ctx.Err() == nil {
				load.query(load.targets[0], time.Time{}) //nolint:contextcheck // it gets its answer, also at the end
				<-time.After(20 * time.Millisecond)      // overload the store, not the processor
			}
		})
	}
	load.mark()
	load.until(t, "answers and rejections", func() bool { return load.statuses[200] > 500 && load.statuses[503] > 500 })
	assert.Equal(t, http.StatusOK, r.get(t, "/healthz").status)
	t.Log(load)
	stop()
	others.Wait()
	calm()
	load.mark()
	load.until(t, "answers alone", func() bool { return load.successes() >= 50 })
	load.stop()
	assert.Empty(t, load.violations)
	assert.Zero(t, r.hungQueries(t))
}

// Clients that send slowly, send nothing or never read do not delay others, and the server closes their connections
// after its timeouts.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.QueryTimeout = 1000, config.Duration(100*time.Millisecond)
	r := startReady(t, cfg)
	address := strings.TrimPrefix(r.url, "http://")
	const request = "GET /openapi HTTP/1.1\r\nHost: x\r\n\r\n" // its answers soon fill the buffers
	kinds := map[string]func(*net.TCPConn){
		"slow header": func(c *net.TCPConn) {
			for _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err == nil; _, err = io.WriteString(c, "A: b\r\n") {
				<-time.After(pollInterval)
			}
		},
		"no request": func(c *net.TCPConn) {
			_, _ = io.Copy(io.Discard, c)
		},
		"no read": func(c *net.TCPConn) {
			for _, err := io.WriteString(c, request); err == nil; _, err = io.WriteString(c, request) {
			}
		},
	}
	const each = 20
	ended := make(chan string, each*len(kinds))
	for name, behave := range kinds {
		for range each {
			c, err := net.Dial("tcp", address)
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
			tcp, ok := c.(*net.TCPConn)
			require.True(t, ok)
			go func() {
				behave(tcp)
				ended <- name
			}()
		}
	}
	for range 200 {
		require.Equal(t, http.StatusOK, r.get(t, "/").status)
	}
	closed := make(map[string]int)
	for range each * len(kinds) {
		select {
		case name := <-ended:
			closed[name]++
		case <-time.After(3 * patience):
			require.Fail(t, "connections stay open", "closed: %v of %d each", closed, each)
		}
	}
}

// The server answers any bytes as HTTP requires or closes the connection: no panic, no internal error.
func FuzzWire(f *testing.F) {
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /updates HTTP/1.1\r\nHost: x\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET //../../etc/passwd?a=%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://[::1]:99999/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 40) + "\r\n",
		"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\nHost: x\r\n\r\n", "GET /\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "\x00", "",
	} {
		f.Add([]byte(request))
	}
	cfg := config.Defaults()
	cfg.Addr, cfg.Users = "127.0.0.1:0", 1000
	server, err := server.Open(cfg, io.Discard)
	require.NoError(f, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx) }()
	f.Cleanup(func() {
		stop()
		require.NoError(f, <-done)
	})
	<-server.Ready()

	f.Fuzz(func(t *testing.T, request []byte) {
		conn, err := net.Dial("tcp", server.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = conn.Write(request)
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		answers := bufio.NewReader(conn)
		for {
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				return // the end, or the answer to a HEAD
			}
			switch response.StatusCode {
			case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported: // as HTTP says
			default:
				assert.Less(t, response.StatusCode, 500, "%q", request)
			}
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if err != nil {
				return
			}
		}
	})
}
