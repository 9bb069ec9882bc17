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

// serve starts a server that calls respond for each request, which writes any bytes it likes. The server closes the
// connection when respond returns false. serve returns the server's URL.
func serve(t *testing.T, respond func(c net.Conn, request int) bool) *url.URL {
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
					if !respond(c, n) {
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

// always returns a handler that writes response to each request.
func always(response string) func(net.Conn, int) bool {
	return func(c net.Conn, _ int) bool {
		_, err := c.Write([]byte(response))
		return err == nil
	}
}

// once is like always, but closes the connection after the response.
func once(response string) func(net.Conn, int) bool {
	return func(c net.Conn, n int) bool {
		always(response)(c, n)
		return false
	}
}

type closableTransport interface {
	http.RoundTripper
	Close()
}

// transports holds the constructors of both transports; most tests run with each.
var transports = map[string]func(Options) (closableTransport, error){
	"http1":    func(o Options) (closableTransport, error) { return NewHTTP1(o) },
	"net/http": func(o Options) (closableTransport, error) { return NewNetHTTP(o) },
}

// send sends n requests in sequence and returns their exchanges.
func send(t *testing.T, newTransport func(Options) (closableTransport, error), opts Options, n int) []Exchange {
	t.Helper()
	var exchanges []Exchange
	opts.Observe = func(x *Exchange) {
		kept := *x
		kept.Body, kept.Server = append([]byte{}, x.Body...), append([]byte{}, x.Server...)
		kept.Head = append([]byte{}, x.Head...)
		exchanges = append(exchanges, kept)
	}
	s, err := newTransport(opts)
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

// requireOrder checks that the steps of an exchange are in order.
func requireOrder(t *testing.T, x *Exchange) {
	t.Helper()
	steps := []time.Duration{x.Start, x.Connected, x.Sent, x.FirstByte, x.Done}
	require.IsNonDecreasing(t, steps)
}
