package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// listen listens on addr. Its error says what to do.
func listen(addr Address) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1} // the timeouts of NewHTTPServer end what is idle, at no cost to others
	listener, err := config.Listen(context.Background(), "tcp", string(addr))
	const see = "see -addr (ADDR)"
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: another program listens there: stop it, or take another port, %s", addr, see)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: no right to listen there: ports below 1024 need it; take another, %s", addr, see)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: this machine does not have that address: %s", addr, see)
	default:
		return nil, fmt.Errorf("cannot listen on %s: %w: %s", addr, err, see)
	}
}

// NewHTTPServer returns the server that a [Server] serves with, for a handler that answers within queryTimeout: with
// timeouts, so that no client can hold it up. It logs to logger what net/http has to say.
func NewHTTPServer(handler http.Handler, queryTimeout time.Duration, logger *slog.Logger) *http.Server {
	const spare = 10 * time.Second
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		// Both begin before the query does. When the first one ends, net/http takes the client for gone.
		ReadTimeout:    queryTimeout + spare,
		WriteTimeout:   queryTimeout + spare,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}
