package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// activated returns the socket that systemd listens on for this process, or nil if there is none. systemd also listens
// while no process runs; clients wait.
func activated() (net.Listener, error) {
	listeners, err := activation.Listeners()
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot use the socket that systemd passes: %w", err)
	case len(listeners) == 0:
		return nil, nil //nolint:nilnil // there is none, which is no error
	case len(listeners) > 1:
		return nil, fmt.Errorf("systemd passes %d sockets, but the server uses one: see the unit's ListenStream=",
			len(listeners))
	case listeners[0] == nil || !acceptsStreams(listeners[0]):
		return nil, errors.New("the socket that systemd passes does not listen for streams: it must come from a " +
			"ListenStream= line, without Accept=yes")
	}
	return listeners[0], nil
}

// acceptsStreams reports whether connections can be accepted from a listener. net.FileListener also returns one for a
// Unix socket of datagrams, and for the connection that systemd passes with Accept=yes.
func acceptsStreams(listener net.Listener) bool {
	network := listener.Addr().Network()
	return (network == "tcp" || network == "unix") && isListening(listener)
}

// notify tells systemd the state of the service, for Type=notify. Elsewhere it does nothing. It does not wait for a
// systemd that does not read: the message is sent when it does.
func (s *Server) notify(state string) {
	sent := make(chan error, 1)
	go func() {
		_, err := daemon.SdNotify(false, state)
		sent <- err
	}()
	var err error
	select {
	case err = <-sent:
	case <-time.After(s.closeTimeout()):
		err = errors.New("it does not read its socket")
	}
	if err != nil {
		s.logger.Warn("systemd could not be notified", "state", state, "error", err)
	}
}

// watchdog tells systemd that the server runs, until ctx ends, if the unit has WatchdogSec=. It takes the engine's
// locks before, so a deadlock would be noticed.
func (s *Server) watchdog(ctx context.Context) {
	const perTimeout = 3
	timeout, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.logger.Warn("systemd's watchdog is not served", "error", err)
	}
	if timeout == 0 {
		return
	}
	ticker := time.NewTicker(timeout / perTimeout)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.engine.State()
			s.notify(daemon.SdNotifyWatchdog)
		case <-ctx.Done():
			return
		}
	}
}
