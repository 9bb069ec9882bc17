//go:build unix

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// systemd learns when the server is ready, that it still runs, and when it stops.
func TestNotify(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer systemd.Close()
	require.NoError(t, systemd.SetReadDeadline(time.Now().Add(5*time.Minute)))
	receive := func() string {
		message := make([]byte, 4096)
		n, err := systemd.Read(message)
		require.NoError(t, err)
		return string(message[:n])
	}
	server, _ := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"}, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=30000")
	address, log := startServer(t, server)
	message := receive()
	for ; message == "WATCHDOG=1"; message = receive() { // allowed before it is ready
	}
	require.Equal(t, "READY=1", message)
	response, err := http.Get("http://" + address)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusOK, response.StatusCode)
	for range 3 {
		require.Equal(t, "WATCHDOG=1", receive())
	}
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	for message := receive(); message != "STOPPING=1"; message = receive() {
		require.Equal(t, "WATCHDOG=1", message)
	}
	_, err = io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, server.Wait())
}

// A systemd that does not read keeps the server neither from serving nor from stopping.
func TestNotifyDoesNotWait(t *testing.T) {
	t.Parallel()
	socket := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	systemd, err := net.ListenUnixgram("unixgram", socket)
	require.NoError(t, err)
	defer systemd.Close()
	others, err := net.DialUnix("unixgram", nil, socket)
	require.NoError(t, err)
	defer others.Close()
	fill(t, others)
	server, _ := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false", "-shutdown-timeout=1s", "-shutdown-delay=0"}, "NOTIFY_SOCKET="+socket.Name)
	_, log := startServer(t, server)
	line, err := log.ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, line, `"systemd could not be notified" state="READY=1" error="it does not read its socket"`)
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	_, err = io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, server.Wait())
}

// fill sends datagrams until the receiver takes no more.
func fill(t *testing.T, c *net.UnixConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Write(func(fd uintptr) bool {
		for err == nil {
			_, err = syscall.Write(int(fd), []byte("X=1"))
		}
		return true
	}))
	require.ErrorIs(t, err, syscall.EAGAIN)
}

// activated returns the server as a command that systemd has passed the sockets of the listeners.
func activated(t *testing.T, args []string, listeners ...interface{ File() (*os.File, error) }) *exec.Cmd {
	t.Helper()
	server, _ := command(t, append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, "", "-users=10", "-update-on-start=false"}, args...))
	server.Args[3], server.Path = server.Path, "/bin/sh"
	for _, listener := range listeners {
		file, err := listener.File()
		require.NoError(t, err)
		t.Cleanup(func() { file.Close() })
		server.ExtraFiles = append(server.ExtraFiles, file)
	}
	server.Env = append(server.Env, "LISTEN_FDS="+string(rune('0'+len(listeners))))
	return server
}

// endActivated ends a server with SIGTERM.
func endActivated(t *testing.T, server *exec.Cmd, log io.Reader) {
	t.Helper()
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	_, err := io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, server.Wait())
}

// A server uses the socket that systemd listens on, whatever -addr says. The next server answers the queries that came
// while none ran.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": path} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen(network, address)
			require.NoError(t, err)
			defer listener.Close()
			address := listener.Addr().String()
			url := "http://" + address + "/"
			if network == "unix" {
				url = "unix:" + address
			}
			var waiting []net.Conn
			for range 3 {
				server := activated(t, []string{"-addr=192.0.2.1:1"}, listener.(interface{ File() (*os.File, error) }))
				log := startActivated(t, server, url)
				for _, c := range waiting {
					response, err := http.ReadResponse(bufio.NewReader(c), nil)
					require.NoError(t, err)
					assert.Equal(t, http.StatusOK, response.StatusCode)
					require.NoError(t, response.Body.Close())
					require.NoError(t, c.Close())
				}
				endActivated(t, server, log)
				if network == "unix" {
					assert.FileExists(t, address, "it is systemd's")
				}
				waiting = waiting[:0]
				for range 20 {
					c, err := net.Dial(network, address)
					require.NoError(t, err)
					require.NoError(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
					_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
					require.NoError(t, err)
					waiting = append(waiting, c)
				}
			}
			for _, c := range waiting {
				c.Close()
			}
		})
	}
}

// startActivated starts a server that listens at a URL.
func startActivated(t *testing.T, server *exec.Cmd, url string) (log *bufio.Reader) {
	t.Helper()
	stderr, err := server.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	log = bufio.NewReader(stderr)
	line, err := log.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, " msg=serving users=10 url="+url+" ")
	return log
}

// With socket activation, no query is lost while the server restarts, although no other server runs.
func TestSocketActivationLosesNoQuery(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer listener.Close()
	url := "http://" + listener.Addr().String() + "/"
	start := func() (server *exec.Cmd, log *bufio.Reader) {
		server = activated(t, nil, listener)
		return server, startActivated(t, server, url)
	}
	server, log := start()

	var clients sync.WaitGroup
	var answered atomic.Int64
	ended := make(chan struct{})
	for range 8 {
		clients.Go(func() {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Minute}
			for {
				response, err := client.Get(url)
				if !assert.NoError(t, err) {
					return
				}
				response.Body.Close()
				if !assert.Equal(t, http.StatusOK, response.StatusCode) {
					return
				}
				answered.Add(1)
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	more := func() {
		before := answered.Load()
		require.Eventually(t, func() bool { return t.Failed() || answered.Load() > before+100 }, 5*time.Minute, time.Millisecond)
	}
	for range 5 {
		more()
		endActivated(t, server, log)
		server, log = start()
	}
	more()
	close(ended)
	clients.Wait()
	endActivated(t, server, log)
	t.Logf("%d queries answered, 5 restarts", answered.Load())
}

// Sockets that the server cannot use are an error.
func TestSocketActivationErrors(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer listener.Close()
	packets, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer packets.Close()
	unixPackets, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "socket"), Net: "unixgram"})
	require.NoError(t, err)
	defer unixPackets.Close()
	accepted, err := net.DialTCP("tcp", nil, listener.Addr().(*net.TCPAddr)) // with Accept=yes
	require.NoError(t, err)
	defer accepted.Close()
	const (
		two = "systemd passes 2 sockets, but the server uses one: see the unit's ListenStream="
		not = "the socket that systemd passes does not listen for streams: it must come from a ListenStream= line, without Accept=yes"
	)
	for _, test := range []struct {
		server *exec.Cmd
		want   string
	}{
		{activated(t, nil, listener, listener), two},
		{activated(t, nil, packets), not},
		{activated(t, nil, unixPackets), not},
		{activated(t, nil, accepted), not},
	} {
		var stderr strings.Builder
		test.server.Stderr = &stderr
		require.Error(t, test.server.Run())
		assert.Equal(t, 1, test.server.ProcessState.ExitCode())
		assert.Contains(t, stderr.String(), test.want)
		assert.NotContains(t, stderr.String(), "serving")
	}
}
