package transport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestResend uses a server that reads each second request of a connection and closes it instead of responding. A GET is
// sent again, once, and that is reported. A POST fails.
func TestResend(t *testing.T) {
	const n = 20
	for transport, newTransport := range transports {
		for method, wantFailed := range map[string]int{http.MethodGet: 0, http.MethodPost: n / 2} {
			t.Run(method+"/"+transport, func(t *testing.T) {
				var received atomic.Int64
				var served sync.Map // the connections that have had a response
				u := serve(t, func(c net.Conn, _ int) bool {
					received.Add(1)
					_, second := served.LoadOrStore(c, true)
					return !second && always(okResponse)(c, 0)
				})
				resent, failed := 0, 0
				for _, x := range send(t, newTransport, Options{Method: method, URL: u, KeepAlive: true}, n) {
					if x.Resent {
						resent++
					}
					if x.Failure != None {
						assert.Equal(t, Receive, x.Failure)
						failed++
					}
				}
				assert.Equal(t, wantFailed, failed)
				assert.EqualValues(t, n+resent, received.Load(), "each request that the server received is reported")
			})
		}
	}
}

// TestResendOnce uses a server that responds once and afterwards never.
func TestResendOnce(t *testing.T) {
	for transport, newTransport := range transports {
		t.Run(transport, func(t *testing.T) {
			var received atomic.Int64
			u := serve(t, func(c net.Conn, _ int) bool {
				return received.Add(1) == 1 && always(okResponse)(c, 0)
			})
			exchanges := send(t, newTransport, Options{URL: u, KeepAlive: true}, 2)
			require.NoError(t, exchanges[0].Err)
			assert.Equal(t, Receive, exchanges[1].Failure)
			assert.True(t, exchanges[1].Resent)
			assert.EqualValues(t, 3, received.Load())
		})
	}
}

// TestMissingBodyHasLength uses a server that, like several real ones, requires a Content-Length in a POST.
func TestMissingBodyHasLength(t *testing.T) {
	for transport, newTransport := range transports {
		t.Run(transport, func(t *testing.T) {
			lengths := make(chan string, 10)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					c, err := listener.Accept()
					if err != nil {
						return
					}
					request, err := http.ReadRequest(bufio.NewReader(c))
					if err == nil {
						lengths <- request.Header.Get("Content-Length") + fmt.Sprint(request.TransferEncoding)
						_, _ = c.Write([]byte(okResponse))
					}
					_ = c.Close()
				}
			}()
			u := &url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/"}
			for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
				send(t, newTransport, Options{Method: method, URL: u}, 1)
				assert.Equal(t, "0[]", <-lengths, method)
			}
			send(t, newTransport, Options{URL: u}, 1)
			assert.Equal(t, "[]", <-lengths)
			require.NoError(t, listener.Close())
			<-done
		})
	}
}

func TestConnectTimeoutIsNotComplete(t *testing.T) {
	x := new(Exchange)
	x.fail(Connect, os.ErrDeadlineExceeded)
	assert.Equal(t, Connect, x.Failure)
	require.EqualError(t, x.Err, "no connection within the timeout")
}

func TestHostHasNoZone(t *testing.T) {
	for host, want := range map[string]string{
		"[fe80::1%lo]:80": "[fe80::1]:80", "[fe80::1%lo]": "[fe80::1]", "[::1]:80": "[::1]:80", "a.test:80": "a.test:80",
	} {
		_, got := Options{URL: &url.URL{Scheme: "http", Host: host}}.headers(&Request{})
		assert.Equal(t, want, got)
	}
}

// TestTimeoutIsExact sends a second request on a connection 5 seconds after the first. It must time out after 8 seconds,
// neither when the deadline of the first one expires nor later.
func TestTimeoutIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		go func() {
			in := bufio.NewReader(server)
			if _, err := http.ReadRequest(in); err == nil {
				_, _ = server.Write([]byte(okResponse))
				_, _ = io.Copy(io.Discard, in) // reads the second request and does not respond
			}
		}()
		var last Exchange
		h, err := NewHTTP1(Options{
			URL: &url.URL{Scheme: "http", Host: "a.test"}, KeepAlive: true, Timeout: 8 * time.Second,
			Observe: func(x *Exchange) { last = *x },
		})
		require.NoError(t, err)
		defer h.Close()
		h.dialContext = func(context.Context, string, string) (net.Conn, error) { return client, nil }

		resp, err := h.RoundTrip(new(http.Request))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		time.Sleep(5 * time.Second)             //nolint:forbidigo // synctest's clock
		_, err = h.RoundTrip(new(http.Request)) //nolint:bodyclose // no body on an error
		require.Error(t, err)
		assert.Equal(t, Exception, last.Failure)
		assert.Equal(t, 8*time.Second, last.Done-last.Start)
	})
}

// TestAddrsInTurn uses two servers and one connection per request.
func TestAddrsInTurn(t *testing.T) {
	for name, newTransport := range transports {
		t.Run(name, func(t *testing.T) {
			var received [2]atomic.Int64
			addrs := make([]string, 0, len(received))
			for i := range received {
				u := serve(t, func(c net.Conn, n int) bool {
					received[i].Add(1)
					return once("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")(c, n)
				})
				addrs = append(addrs, u.Host)
			}
			opts := Options{URL: &url.URL{Scheme: "http", Host: "server.invalid", Path: "/"}, Addrs: addrs}
			for _, x := range send(t, newTransport, opts, 6) {
				require.NoError(t, x.Err)
			}
			assert.EqualValues(t, 3, received[0].Load())
			assert.EqualValues(t, 3, received[1].Load())
		})
	}
}
