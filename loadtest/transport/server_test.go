package transport

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serve starts a server that calls answer for each request, for it to write whatever it wants. The server closes
// the connection when answer returns false. It returns the server's URL.
func serve(t *testing.T, answer func(c net.Conn, request int) bool) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	requests := 0
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					mu.Lock()
					n := requests
					requests++
					mu.Unlock()
					if !answer(c, n) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return &url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/"}
}

// always is an answer that is always the same.
func always(answer string) func(net.Conn, int) bool {
	return func(c net.Conn, _ int) bool {
		_, err := c.Write([]byte(answer))
		return err == nil
	}
}

// once is always, and then the connection is closed.
func once(answer string) func(net.Conn, int) bool {
	return func(c net.Conn, n int) bool {
		always(answer)(c, n)
		return false
	}
}

type sender interface {
	http.RoundTripper
	Close()
}

// transports are what most tests run with.
var transports = map[string]func(Options) (sender, error){
	"lean":     func(o Options) (sender, error) { return NewLean(o) },
	"net/http": func(o Options) (sender, error) { return NewStandard(o) },
}

// send sends n requests one after the other and returns their exchanges.
func send(t *testing.T, newSender func(Options) (sender, error), opts Options, n int) []Exchange {
	t.Helper()
	var exchanges []Exchange
	opts.Observe = func(x *Exchange) {
		kept := *x
		kept.Body, kept.Server = append([]byte{}, x.Body...), append([]byte{}, x.Server...)
		exchanges = append(exchanges, kept)
	}
	s, err := newSender(opts)
	require.NoError(t, err)
	defer s.Close()
	for range n {
		req, err := http.NewRequest(http.MethodGet, "http://ignored/", nil)
		require.NoError(t, err)
		resp, err := s.RoundTrip(req)
		if err == nil {
			require.NoError(t, resp.Body.Close())
		}
	}
	require.Len(t, exchanges, n)
	return exchanges
}

// requireOrder checks that the steps of an exchange follow each other.
func requireOrder(t *testing.T, x *Exchange) {
	t.Helper()
	steps := []time.Duration{x.Start, x.Connected, x.Sent, x.FirstByte, x.Done}
	require.IsNonDecreasing(t, steps)
}
