package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// listen listens on addr. Its error says what to do about it.
func listen(addr config.Address) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1} // pointshttp.NewServer's timeouts close idle connections
	listener, err := config.Listen(context.Background(), "tcp", string(addr))
	const see = "see -addr (ADDR)"
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: another program listens there: stop it, or choose another port, %s", addr, see)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied: ports below 1024 need privileges; choose another one, %s", addr, see)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: this machine does not have that address: %s", addr, see)
	default:
		return nil, fmt.Errorf("cannot listen on %s: %w: %s", addr, err, see)
	}
}
