// Package server is the reference server: it opens the store, serves it over HTTP with metrics, a dashboard and
// controls, and shuts down in order.
//
//	server, err := server.Open(config.Defaults(), os.Stderr) // listens
//	go server.Run(ctx)                                       // seeds the table if it is new, and serves
//	<-server.Ready()
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"github.com/pointsapp/pointsapp/examples/server/internal/apidoc"
	"github.com/pointsapp/pointsapp/examples/server/internal/backend"
	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/connlimit"
	"github.com/pointsapp/pointsapp/examples/server/internal/dashboard"
	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// A Server is the reference server. Open it, then Run it.
type Server struct {
	cfg         config.Config
	stderr      io.Writer
	logger      *slog.Logger
	telemetry   *telemetry.Telemetry  // nil: nothing is measured
	newExporter telemetry.NewExporter // nil: nothing can be exported
	backend     backend.Backend
	engine      *points.Engine
	queries     *pointshttp.Handler
	latest      *latestResponse // wraps queries
	updates     *updates
	page        *dashboard.Dashboard // nil without telemetry
	routes      *routes
	http        *http.Server
	listener    *connlimit.Listener
	activated   bool // systemd listens, too
	ready       chan struct{}
	served      chan struct{} // closed when serve ends
}

// Open listens on cfg.Addr, or on the socket that systemd has passed, and does nothing else: so the address is known
// early, and a port in use is reported at once.
// The server logs to stderr, and shows a progress bar there while it seeds a table if stderr is a terminal. Run or
// Close must be called.
//
// The errors of Open and Run are one line each, without a password.
func Open(cfg config.Config, stderr io.Writer, options ...Option) (*Server, error) {
	cfg.Instance = cfg.Instance.OrDefault()
	s := &Server{
		cfg: cfg, stderr: stderr, logger: slog.New(collapseRepeats(NewLogger(cfg, stderr).Handler())),
		updates: new(updates), ready: make(chan struct{}), served: make(chan struct{}),
	}
	for _, option := range options {
		option(s)
	}
	if err := s.open(); err != nil {
		s.close(context.Background())
		return nil, err
	}
	return s, nil
}

// An Option configures a [Server] beyond its settings.
type Option func(*Server)

// WithExporter makes the server export traces and metrics if OpenTelemetry's environment variables (OTEL_*) ask for it.
// Without it, such a variable is an error.
func WithExporter(newExporter telemetry.NewExporter) Option {
	return func(s *Server) { s.newExporter = newExporter }
}

func (s *Server) open() (err error) {
	problems := new(dashboard.Problems)
	if s.cfg.Telemetry { // problems gets all records: it counts those that repeat
		s.logger = slog.New(slog.NewMultiHandler(s.logger.Handler(), problems.Handler()))
		s.telemetry, err = telemetry.New(context.Background(), string(s.cfg.Instance), s.newExporter, s.logger)
		if err != nil {
			return err
		}
		s.logger = slog.New(s.telemetry.LogHandler(s.logger.Handler()))
	}
	if s.backend, err = backend.Open(s.cfg, s.telemetry, s.logger); err != nil {
		return err
	}
	if s.engine, err = s.newEngine(); err != nil {
		return err
	}
	s.updates.state = s.engine.State
	if err := s.setUpHTTP(problems); err != nil {
		return err
	}
	listener, err := activated()
	if err != nil {
		return err
	}
	if s.activated = listener != nil; !s.activated {
		if listener, err = listen(s.cfg.Addr); err != nil {
			return err
		}
	}
	s.listener = connlimit.New(listener, int(s.cfg.MaxConnections), s.atConnectionLimit(int64(s.cfg.MaxConnections)))
	s.http.ConnState = s.listener.ConnState
	if s.telemetry != nil {
		s.telemetry.MeasureConnections(s.listener.Limit(), s.listener.Open, s.listener.Rejected)
	}
	return nil
}

func (s *Server) newEngine() (*points.Engine, error) {
	var hooks []points.Hooks
	if s.telemetry != nil {
		hooks = append(hooks, s.telemetry.Hooks(s.backend.Store()))
	}
	long := longUpdates{logger: s.logger}
	hooks = append(hooks, points.Hooks{
		BatchEnd: newReads(s.logger).ended, UpdateStart: long.started, UpdateProgress: long.progress,
	})
	hooks = append(hooks, points.Hooks{UpdateStart: updateStarted})
	if s.shared() { // updates.watch gets the updates of all servers from the shared state
		hooks = append(hooks, points.Hooks{UpdateStart: s.updates.startedShared})
	} else {
		hooks = append(hooks, points.Hooks{UpdateStart: s.updates.started, UpdateEnd: s.updates.ended})
	}
	return points.New(s.backend.Store(), points.Config{
		Interval:      time.Duration(s.cfg.Interval),
		QueryTimeout:  time.Duration(s.cfg.QueryTimeout),
		MaxWaiting:    int(s.cfg.MaxWaiting),
		UpdateOnStart: s.cfg.UpdateOnStart,
		Instance:      string(s.cfg.Instance),
		StopTimeout:   s.answerTimeout(),
		Logger:        s.logger,
		Hooks:         points.JoinHooks(hooks...),
	})
}

// setUpHTTP sets up the HTTP server and the handlers of all paths.
func (s *Server) setUpHTTP(problems *dashboard.Problems) error {
	s.queries = pointshttp.NewHandler(s.engine, pointshttp.Config{Ping: s.backend.Ping, Logger: s.logger})
	s.queries.SetStarting("the store is being opened")
	s.latest = &latestResponse{queries: s.queries}
	s.routes = newRoutes(s.latest, s.logger)
	handler := allowOrigins(s.cfg.CORSOrigins, s.routes)
	s.routes.addReadOnly(map[string]http.Handler{"/updates": s.updates})
	description, err := apidoc.Handlers()
	if err != nil {
		return err
	}
	s.routes.addReadOnly(description)
	if s.cfg.ControlToken != "" {
		control := control{s.cfg.ControlToken, s.engine, s.queries, s.logger}
		s.routes.add(control.handlers())
	}
	s.http = pointshttp.NewServer(handler, time.Duration(s.cfg.QueryTimeout), s.logger)
	s.http.IdleTimeout = time.Duration(s.cfg.IdleTimeout)
	if s.telemetry == nil {
		return nil
	}
	s.telemetry.MeasureEngine(s.engine)
	s.page = s.newDashboard(problems)
	pages, err := s.page.Handlers()
	if err != nil {
		return err
	}
	s.routes.addReadOnly(pages)
	s.routes.addReadOnly(map[string]http.Handler{"/metrics": s.telemetry.Metrics()})
	s.http.Handler = s.telemetry.Middleware(handler, s.routes.paths())
	return nil
}

// close closes everything but the listener.
func (s *Server) close(ctx context.Context) {
	if s.backend != nil {
		s.backend.Close()
	}
	if s.telemetry != nil {
		ctx, cancel := context.WithTimeout(ctx, s.closeTimeout())
		defer cancel()
		if err := s.telemetry.Shutdown(ctx); err != nil {
			s.logger.Warn("the latest telemetry could not be exported", "error", backend.OneLine(err))
		}
	}
}

// Addr returns where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Ready returns a channel that is closed once the server answers queries.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Close closes a server that will not Run.
func (s *Server) Close() error {
	s.close(context.Background())
	return s.listener.Close()
}

// Run creates and seeds the table if it does not exist, and then answers queries and runs the engine until ctx ends.
// Then it cancels a running update, and answers further queries for cfg.ShutdownDelay. After that it stops listening,
// answers the waiting queries, closes everything and returns nil, all within cfg.ShutdownTimeout. It returns an error
// if the table cannot be used or listening fails. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.serve(groupCtx) })
	group.Go(func() error { return s.runEngine(groupCtx) })
	group.Go(func() error { s.watchdog(groupCtx); return nil })
	if s.shared() {
		group.Go(func() error { s.updates.watch(groupCtx); return nil })
	}
	if s.page != nil {
		group.Go(func() error { s.page.Run(); return nil }) // until shutdown closes it
	}
	group.Go(func() error {
		<-groupCtx.Done()
		s.stop(ctx)
		return nil
	})
	err := group.Wait()
	s.closeInTime(ctx)
	if ctx.Err() == nil {
		return err
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.logger.Warn("shutdown was not clean", "error", backend.OneLine(err))
	}
	s.logger.Info("stopped")
	return nil
}

// shared reports whether other servers can have the same engine state.
func (s *Server) shared() bool { return s.backend.Store().Capabilities().SharedState != nil }

// serve serves connections, also before the server is ready, so that /healthz and /readyz answer. With a socket of
// systemd it waits until the server is ready: what clients sent while no server ran is answered then, and not with 503.
// If the server stops before that, the clients are left to the next one.
func (s *Server) serve(ctx context.Context) error {
	defer close(s.served)
	if s.activated {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil
		}
	}
	err := pointshttp.Serve(s.http, s.listener)
	if stopping := ctx.Err() != nil && errors.Is(err, net.ErrClosed); !stopping {
		return fmt.Errorf("listening on %s failed: %w", displayURL(s.Addr()), err)
	}
	return nil
}

// runEngine prepares the store, then makes the server ready and runs the engine until ctx ends.
func (s *Server) runEngine(ctx context.Context) error {
	progress := progress{logger: s.logger, handler: s.queries, w: s.stderr, terminal: isTerminal(s.stderr)}
	users, err := s.backend.Prepare(ctx, progress.show)
	progress.end()
	if err != nil {
		return err
	}
	logger := s.logger
	if users >= 0 {
		logger = logger.With("users", users)
	}
	logger.Info("serving", "url", displayURL(s.Addr()), "store", s.backend.Name(),
		"interval", time.Duration(s.cfg.Interval), "instance", string(s.cfg.Instance), "shared", s.shared())
	if interval := time.Duration(s.cfg.Interval); interval < time.Second {
		s.logger.Warn("the interval is below 1 second: ticks are skipped while an update runs, see -interval "+
			"(TIMER_INTERVAL)", "interval", interval)
	}
	s.queries.SetServing()
	close(s.ready)
	s.notify(daemon.SdNotifyReady)
	return s.engine.Run(ctx)
}
