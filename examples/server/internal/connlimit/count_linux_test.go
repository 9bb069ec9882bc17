package connlimit

import (
	"bufio"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// Whatever clients do, the count of open connections follows them: it is within the limit, and 0 when all have gone.
func TestCountNeverDrifts(t *testing.T) {
	t.Parallel()
	const limit, clients, connections = 8, 32, 60
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	counting := &countingListener{Listener: inner}
	l := New(counting, limit, func(bool) {})
	l.minIdle = 200 * time.Microsecond // so that many connections are ended
	check := func() {
		closed := counting.closedResumed.Load()
		open := l.Open()
		assert.LessOrEqual(t, open, limit+counting.resumed.Load()-closed)
		assert.Positive(t, open)
	}
	server := pointshttp.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		check()
		io.Copy(w, r.Body) //nolint:errcheck // the client has gone
	}), time.Minute, slog.New(slog.DiscardHandler))
	server.ConnState = l.ConnState
	served := make(chan error)
	go func() { served <- pointshttp.Serve(server, l) }()

	var all sync.WaitGroup
	for i := range uint64(clients) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, i))
			for range connections {
				randomClient(t, random, inner.Addr().String())
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool { return counting.open.Load() == 0 && l.Open() == 0 }, time.Minute, time.Millisecond,
		"%d connections are open, %d counted", &counting.open, &l.open)
	assert.Zero(t, l.CloseIdle(0))
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)
	t.Logf("rejected %d, resumed %d", l.Rejected(), counting.resumed.Load())
}

// randomClient opens a connection, sends some requests or parts of them, and ends it in one of several ways.
func randomClient(t *testing.T, random *rand.Rand, address string) {
	c, err := net.Dial("tcp", address)
	if !assert.NoError(t, err) {
		return
	}
	defer c.Close()
	tcp := c.(*net.TCPConn)
	responses := bufio.NewReader(c)
	for request := range random.IntN(5) {
		status := sendRequest(random, c, responses)
		if request == 0 {
			assert.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, status, "the first request is answered")
		}
		if status != http.StatusOK {
			return
		}
		pause(random)
	}
	switch random.IntN(5) {
	case 0:
		tcp.SetLinger(0) //nolint:errcheck // then it is closed in order
	case 1:
		io.WriteString(c, "GET / HT") //nolint:errcheck // the server may have closed the connection
	case 2:
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") //nolint:errcheck // the same
	case 3:
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") //nolint:errcheck // the same
		tcp.CloseWrite()                                       //nolint:errcheck // the same
		io.Copy(io.Discard, c)                                 //nolint:errcheck // the same
	}
}

// sendRequest sends a request in one or several parts, and returns the status of its response, 0 if there is none.
func sendRequest(random *rand.Rand, c net.Conn, responses *bufio.Reader) int {
	parts := []string{"POST / HTTP/1.1\r\n", "Host: x\r\nContent-Length: 4\r\n\r\n", "body"}
	text := ""
	for i, part := range parts {
		text += part
		if i < len(parts)-1 && random.IntN(2) == 0 {
			continue
		}
		if _, err := io.WriteString(c, text); err != nil {
			break // there may be a response, even so
		}
		text = ""
		pause(random)
	}
	response, err := http.ReadResponse(responses, nil)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// pause lets other goroutines run, for up to a millisecond.
func pause(random *rand.Rand) { <-time.After(time.Duration(random.IntN(1000)) * time.Microsecond) }

// A countingListener counts its open connections, those that were resumed after a read deadline in the past, and how
// many of these are closed.
type countingListener struct {
	net.Listener

	open, resumed, closedResumed atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return &countingConn{TCPConn: c.(*net.TCPConn), l: l}, nil
}

type countingConn struct {
	*net.TCPConn

	l       *countingListener
	mu      sync.Mutex
	ended   bool
	resumed int64
	close   sync.Once
}

func (c *countingConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		c.resumed++
		c.l.resumed.Add(1)
	}
	c.ended = !t.IsZero() && t.Year() < 2000
	return c.TCPConn.SetReadDeadline(t)
}

func (c *countingConn) Close() error {
	c.close.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.l.closedResumed.Add(c.resumed)
		c.l.open.Add(-1)
	})
	return c.TCPConn.Close()
}
