package pointshttp

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A later deadline is applied only after the earlier one has passed, an earlier one only for a read or write; both are if
// they must be exact.
func TestLazyDeadline(t *testing.T) {
	t.Parallel()
	start := time.Now()
	var applied []time.Duration
	d := lazyDeadline{apply: func(at time.Time) error {
		if at.IsZero() {
			applied = append(applied, 0)
		} else {
			applied = append(applied, at.Sub(start))
		}
		return nil
	}}
	requireApplied := func(want ...time.Duration) {
		t.Helper()
		require.Equal(t, want, applied)
		applied = nil
	}
	set := func(deadline time.Duration) {
		at := time.Time{}
		if deadline != 0 {
			at = start.Add(deadline)
		}
		require.NoError(t, d.set(at))
	}

	for _, deadline := range []time.Duration{0, 5, 1, 15, 0, 120, 6} { // 1 is replaced before a read
		set(deadline)
	}
	requireApplied()
	require.NoError(t, d.begin())
	requireApplied(6)
	set(16)
	require.NoError(t, d.begin(), "a second one at the same time")
	requireApplied()
	set(3)
	requireApplied(3)
	d.end()
	set(2)
	requireApplied(2)
	set(16)
	assert.False(t, d.extend(io.EOF))
	assert.False(t, d.extend(nil))
	requireApplied()
	assert.True(t, d.extend(os.ErrDeadlineExceeded))
	requireApplied(16)
	assert.False(t, d.extend(os.ErrDeadlineExceeded), "it has passed")
	d.end()
	set(4)
	set(0)
	require.NoError(t, d.begin())
	requireApplied()
	assert.True(t, d.extend(os.ErrDeadlineExceeded))
	requireApplied(0)
	d.end()

	set(7)
	set(8)
	require.NoError(t, d.makeExact())
	for _, deadline := range []time.Duration{9, 0, 10, 11} {
		set(deadline)
	}
	requireApplied(8, 9, 0, 10, 11)
}

// pipe returns a connection as Serve accepts it, and its client.
func pipe(t *testing.T) (*watchedConn, *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	c, err := watchedListener{listener}.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		client.Close()
	})
	return c.(*watchedConn), client.(*net.TCPConn)
}

func setDeadlines(t *testing.T, c *watchedConn, wait time.Duration) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(wait)))
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(wait)))
}

const (
	soon  = 20 * time.Millisecond
	never = time.Hour
)

// Reads and writes that wait longer than a deadline which has been replaced by a later one do not fail.
func TestReplacedDeadline(t *testing.T) {
	t.Parallel()
	const size = 64 << 20 // more than the buffers of the kernel
	large := make([]byte, size)
	for name, transfer := range map[string]func(t *testing.T, c *watchedConn, client *net.TCPConn, waited <-chan time.Time){
		"Read": func(t *testing.T, c *watchedConn, client *net.TCPConn, waited <-chan time.Time) {
			go func() {
				<-waited
				client.Write([]byte("x")) //nolint:errcheck // then the read fails
			}()
			n, err := c.Read(make([]byte, 10))
			assert.NoError(t, err)
			assert.Equal(t, 1, n)
		},
		"Write": func(t *testing.T, c *watchedConn, client *net.TCPConn, waited <-chan time.Time) {
			received := receive(client, waited)
			n, err := c.Write(large)
			assert.NoError(t, err)
			assert.Equal(t, size, n)
			require.NoError(t, c.CloseWrite())
			assert.EqualValues(t, size, <-received)
		},
		"ReadFrom": func(t *testing.T, c *watchedConn, client *net.TCPConn, waited <-chan time.Time) {
			received := receive(client, waited)
			file, err := os.Create(t.TempDir() + "/large")
			require.NoError(t, err)
			defer file.Close()
			require.NoError(t, file.Truncate(size))
			n, err := c.ReadFrom(file)
			assert.NoError(t, err)
			assert.EqualValues(t, size, n)
			require.NoError(t, c.CloseWrite())
			assert.EqualValues(t, size, <-received)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, client := pipe(t)
			setDeadlines(t, c, soon)
			for _, d := range []*lazyDeadline{&c.readDeadline, &c.writeDeadline} {
				require.NoError(t, d.begin()) // a short read or write
				d.end()
			}
			setDeadlines(t, c, never)
			transfer(t, c, client, time.After(3*soon))
		})
	}
}

// receive reads all that a client gets, after waiting. It sends the number of bytes.
func receive(client *net.TCPConn, waited <-chan time.Time) <-chan int64 {
	received := make(chan int64, 1)
	go func() {
		<-waited
		n, _ := io.Copy(io.Discard, client)
		received <- n
	}()
	return received
}

// The latest deadline ends reads and writes.
func TestLatestDeadline(t *testing.T) {
	t.Parallel()
	large := make([]byte, 64<<20)
	for name, transfer := range map[string]func(c *watchedConn) error{
		"Read":     func(c *watchedConn) error { _, err := c.Read(large); return err },
		"Write":    func(c *watchedConn) error { _, err := c.Write(large); return err },
		"ReadFrom": func(c *watchedConn) error { _, err := c.ReadFrom(endless{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := pipe(t)
			for _, wait := range []time.Duration{never, soon, 3 * soon} {
				setDeadlines(t, c, wait)
			}
			require.ErrorIs(t, transfer(c), os.ErrDeadlineExceeded)

			c, _ = pipe(t)
			setDeadlines(t, c, never)
			ended := make(chan error)
			go func() { ended <- transfer(c) }()
			setDeadlines(t, c, -never) // net/http ends a read by a deadline in the past
			require.ErrorIs(t, <-ended, os.ErrDeadlineExceeded)
		})
	}
}

// An endless reader returns zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A handler that takes over a connection can copy to and from it by any means, with the deadlines that it sets.
func TestDeadlinesOfHijackedConnections(t *testing.T) {
	t.Parallel()
	c, client := pipe(t)
	setDeadlines(t, c, soon)
	require.NoError(t, c.SetDeadline(time.Time{})) // as net/http does
	setDeadlines(t, c, 2*soon)
	setDeadlines(t, c, never)
	waited := time.After(4 * soon)
	go func() {
		<-waited
		client.Write([]byte("abxy")) //nolint:errcheck // then too little arrives
		client.CloseWrite()          //nolint:errcheck // the same
	}()
	for range 2 { // by one byte each, as net/http reads while a handler runs
		n, err := c.Read(make([]byte, 1))
		require.NoError(t, err)
		assert.Equal(t, 1, n)
	}
	n, err := io.Copy(io.Discard, c.NetConn())
	require.NoError(t, err)
	assert.EqualValues(t, 2, n)
	require.NoError(t, c.SetDeadline(time.Now().Add(soon)))
	_, err = c.streamConn.Write(make([]byte, 64<<20))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
}
