package transport

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newHTTP2Server returns the URL of a server that offers HTTP/2, and options for it.
func newHTTP2Server(t *testing.T, handler http.HandlerFunc) Options {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = nil
	return Options{URL: u, TLS: config, KeepAlive: true}
}

// TestConnectionPerRequest sends pairs of concurrent requests: with HTTP/1.1 and with HTTP/2, two connections are used.
func TestConnectionPerRequest(t *testing.T) {
	for name, disabled := range map[string]bool{"HTTP/2.0": false, "HTTP/1.1": true} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			conns := map[string]int{}
			var both sync.WaitGroup // until both requests of a pair have arrived
			opts := newHTTP2Server(t, func(_ http.ResponseWriter, r *http.Request) {
				mu.Lock()
				conns[r.Proto+" "+r.RemoteAddr]++
				mu.Unlock()
				both.Done()
				both.Wait()
			})
			opts.DisableHTTP2 = disabled
			n, err := NewNetHTTP(opts)
			require.NoError(t, err)
			defer n.Close()
			const pairs = 3
			for range pairs {
				both.Add(2)
				var clients sync.WaitGroup
				for range 2 {
					clients.Go(func() {
						resp, err := n.RoundTrip(new(http.Request))
						if assert.NoError(t, err) {
							assert.NoError(t, resp.Body.Close())
						}
					})
				}
				clients.Wait()
			}
			require.Len(t, conns, 2)
			for conn, requests := range conns {
				assert.Contains(t, conn, name+" ")
				assert.Equal(t, pairs, requests)
			}
		})
	}
}

// TestCloseHTTP2 closes the transport while a request is pending. No connection is left: see TestMain.
func TestCloseHTTP2(t *testing.T) {
	arrived := make(chan struct{})
	opts := newHTTP2Server(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	n, err := NewNetHTTP(opts)
	require.NoError(t, err)
	var client sync.WaitGroup
	client.Go(func() {
		_, err := n.RoundTrip(new(http.Request)) //nolint:bodyclose // no body on an error
		assert.ErrorIs(t, err, ErrClosed)
	})
	<-arrived
	n.Close()
	client.Wait()
}

// TestHTTP2ErrorsAreEqual tests errors that differ only in the number of the stream.
func TestHTTP2ErrorsAreEqual(t *testing.T) {
	opts := newHTTP2Server(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, x := range send(t, transports["net/http"], opts, 3) {
		require.EqualError(t, x.Err, "stream error: INTERNAL_ERROR; received from peer")
	}
	x := new(Exchange)
	x.fail(Receive, errors.New(`http2: server sent GOAWAY and closed the connection; LastStreamID=1999, ErrCode=NO_ERROR, debug=""`))
	require.EqualError(t, x.Err, `http2: server sent GOAWAY and closed the connection; ErrCode=NO_ERROR, debug=""`)
}
