package server

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// The parts of a shutdown: it answers queries until the shutdown delay is over (stop), stops listening and answers the
// waiting queries (shutdown), and closes the backend (closeInTime). All of them together take at most
// config.Config.ShutdownTimeout.

// closeTimeout limits the time to close the backend, that to export the latest telemetry, and that to notify systemd.
func (s *Server) closeTimeout() time.Duration {
	const share, most = 10, time.Second
	return min(most, time.Duration(s.cfg.ShutdownTimeout)/share)
}

// answerTimeout limits the time from the beginning of a shutdown until all queries are answered and the update is
// cancelled.
func (s *Server) answerTimeout() time.Duration {
	return time.Duration(s.cfg.ShutdownTimeout) - 2*s.closeTimeout()
}

// stop makes the server not ready, answers queries for the shutdown delay, and ends serving. There is no delay if the
// server failed, so that ctx has not ended.
func (s *Server) stop(ctx context.Context) {
	shutdownCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.answerTimeout())
	defer cancel()
	s.notify(daemon.SdNotifyStopping)
	s.routes.stop()
	s.queries.SetStopping()
	if ctx.Err() != nil {
		s.delayShutdown()
	}
	s.shutdown(shutdownCtx)
}

// delayShutdown waits until load balancers have noticed that the server is not ready. If it never was ready, they have
// sent it no queries, and there is no delay.
func (s *Server) delayShutdown() {
	delay := time.Duration(s.cfg.ShutdownDelay)
	select {
	case <-s.ready:
	default:
		delay = 0
	}
	if delay == 0 {
		s.logger.Info("shutting down")
		return
	}
	s.logger.Info("shutting down: not ready, but still answering queries", "for", delay)
	<-time.After(delay)
	// Queries up to the end of the delay mean that it is too short for the load balancer.
	s.logger.Info("no longer listening", "latest_query", time.Duration(s.routes.latestQuery.Load()))
}

// shutdown stops listening and waits until all queries are answered or ctx has ended.
func (s *Server) shutdown(ctx context.Context) {
	s.listener.Close() //nolint:errcheck // serve returns its error
	<-s.served
	if s.page != nil {
		s.page.Close() // otherwise its event streams would be waited for
	}
	s.closeConnections(ctx)
	if err := s.http.Shutdown(ctx); err != nil {
		s.logger.Warn("some queries were not answered before the shutdown", "timeout", time.Duration(s.cfg.ShutdownTimeout))
		s.http.Close() //nolint:errcheck // nothing is left to do about it
	}
}

// closeConnections closes each connection once its request is answered, or when no request has arrived on it for a
// moment, in which a client that has just received a response may send its next request. It waits for a second at most.
// After the start of http.Server.Shutdown, net/http closes a connection when it has read the request, without a
// response.
func (s *Server) closeConnections(ctx context.Context) {
	const limit, idle, pollInterval = time.Second, 100 * time.Millisecond, 5 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for s.listener.CloseIdle(idle) > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// closeInTime closes everything, but does not wait for a connection that hangs.
func (s *Server) closeInTime(ctx context.Context) {
	timeout := s.closeTimeout()
	closed := make(chan struct{})
	go func() {
		s.close(context.WithoutCancel(ctx))
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(timeout + timeout/4):
		s.logger.Warn("closing the database connections and exporting the latest telemetry took too long", "timeout", timeout)
	}
}
