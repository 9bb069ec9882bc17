package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

const seeAddr = "see -addr (ADDR)"

// listen listens on addr. Its error says what to do about it.
func listen(addr config.Address) (net.Listener, error) {
	if path, mode, ok := addr.Unix(); ok {
		listener, err := listenUnix(path, mode)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s", path, err, seeAddr)
		}
		return listener, nil
	}
	config := net.ListenConfig{KeepAlive: -1} // pointshttp.NewServer's timeouts close idle connections
	listener, err := config.Listen(context.Background(), "tcp", string(addr))
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: another program listens there: stop it, or choose another port, %s", addr, seeAddr)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied: ports below 1024 need privileges; choose another one, %s",
			addr, seeAddr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: this machine does not have that address: %s", addr, seeAddr)
	default:
		return nil, fmt.Errorf("cannot listen on %s: %w: %s", addr, err, seeAddr)
	}
}

// listenUnix creates a Unix socket and listens on it. It replaces a socket that a killed server has left. Closing the
// listener removes the socket, unless another program has replaced it.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	folder, err := lockFolder(filepath.Dir(path)) // so that no other server takes the new socket for one that was left
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("its folder does not exist")
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("permission denied: the server must be able to read its folder")
	case err != nil:
		return nil, err
	}
	defer folder.Close() //nolint:errcheck // it was only locked
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil, errors.New("the path is too long for a socket")
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("permission denied: the server must be able to write to its folder")
	case err != nil:
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		listener.Close() //nolint:errcheck // the first error counts
		return nil, err
	}
	created, err := os.Lstat(path)
	if err != nil {
		listener.Close() //nolint:errcheck // the first error counts
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:forcetypeassert // its network is unix
	return &unixListener{Listener: listener, path: path, created: created}, nil
}

// A unixListener listens on a Unix socket that it created.
type unixListener struct {
	net.Listener

	path    string
	created fs.FileInfo
}

// Close removes the socket, and stops listening. It leaves the socket of a server that was started after somebody had
// removed this one's; net.UnixListener would remove whatever has the path.
func (l *unixListener) Close() error {
	if there, err := os.Lstat(l.path); err == nil && os.SameFile(there, l.created) {
		os.Remove(l.path) //nolint:errcheck // the next server replaces what is left
	}
	return l.Listener.Close()
}

// removeStale removes a socket on which no process listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("a file that is not a socket is there: remove it, or choose another path")
	}
	c, err := new(net.Dialer).DialContext(context.Background(), "unix", path)
	switch {
	case err == nil:
		c.Close() //nolint:errcheck // it was only a test
		return errors.New("another program listens there: stop it, or choose another path")
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	default: // such as a full queue, or no permission
		return fmt.Errorf("another program may listen there: %w", err)
	}
}

// displayURL returns the URL of a listener for the log.
func displayURL(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return "http://" + addr.String() + "/"
}
