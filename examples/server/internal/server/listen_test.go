package server

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// A Unix socket has its mode, and is removed at the end.
func TestListenOnUnixSocket(t *testing.T) {
	t.Parallel()
	for suffix, mode := range map[string]os.FileMode{"": 0o660, "|0666": 0o666, "|600": 0o600} {
		path := filepath.Join(t.TempDir(), "socket")
		listener, err := listen(config.Address("unix:" + path + suffix))
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode|os.ModeSocket, info.Mode())
		assert.Equal(t, "unix:"+path, displayURL(listener.Addr()))
		require.NoError(t, listener.Close())
		assert.NoFileExists(t, path)
	}
}

// A Unix socket is replaced only if nobody listens on it. Nothing else is ever replaced.
func TestReplaceStaleSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	_, err = listen(config.Address("unix:" + path))
	require.EqualError(t, err, path+": another program listens there: stop it, or choose another path: see -addr (ADDR)")
	c, err := net.Dial("unix", path)
	require.NoError(t, err, "it still listens")
	require.NoError(t, c.Close())

	left.SetUnlinkOnClose(false)
	require.NoError(t, left.Close())
	listener, err := listen(config.Address("unix:" + path))
	require.NoError(t, err)
	c, err = net.Dial("unix", path)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, listener.Close())

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = listen(config.Address("unix:" + path))
	require.EqualError(t, err, path+": a file that is not a socket is there: remove it, or choose another path: see -addr (ADDR)")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	_, err = listen(config.Address("unix:" + link))
	require.ErrorContains(t, err, "not a socket")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(content))
}

// Of servers that start at the same moment, one replaces a stale socket.
func TestReplaceStaleSocketOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	for range 200 {
		left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		require.NoError(t, err)
		left.SetUnlinkOnClose(false)
		require.NoError(t, left.Close())
		var servers sync.WaitGroup
		listeners := make(chan net.Listener, 4)
		for range cap(listeners) {
			servers.Go(func() {
				if listener, err := listen(config.Address("unix:" + path)); err == nil {
					listeners <- listener
				}
			})
		}
		servers.Wait()
		require.Len(t, listeners, 1)
		require.NoError(t, (<-listeners).Close())
	}
}

// A listener that ends does not remove the socket of the next server, which was started after somebody had removed its
// own.
func TestSocketOfAnotherServerIsKept(t *testing.T) {
	t.Parallel()
	address := config.Address("unix:" + filepath.Join(t.TempDir(), "socket"))
	path, _, _ := address.Unix()
	old, err := listen(address)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	listener, err := listen(address)
	require.NoError(t, err)
	require.NoError(t, old.Close())
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, listener.Close())
	assert.NoFileExists(t, path)
}

func TestListenOnUnixSocketErrors(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(folder, "gone", "socket"):           "its folder does not exist",
		filepath.Join(folder, strings.Repeat("long", 50)): "the path is too long for a socket",
	} {
		_, err := listen(config.Address("unix:" + path))
		require.EqualError(t, err, path+": "+want+": see -addr (ADDR)")
	}
}
