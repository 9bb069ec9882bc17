package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pointsapp/pointsapp/examples/server/apidoc"
	"github.com/pointsapp/pointsapp/examples/server/telemetry"
	"github.com/pointsapp/pointsapp/points"
)

// How long the parts of a shutdown may take: 10 seconds in all, with some to spare.
const (
	drainTimeout = 8 * time.Second // for what waits to be answered, and meanwhile for the update to stop
	closeTimeout = time.Second     // for the backend to close
)

// A Server is the reference server. It has the two methods of a life: Open and Run.
type Server struct {
	cfg         Config
	stderr      io.Writer
	logger      *slog.Logger
	telemetry   *telemetry.Telemetry  // nil: nothing is measured
	newExporter telemetry.NewExporter // nil: nothing can be exported
	backend     backend
	engine      *points.Engine
	handler     *Handler
	http        *http.Server
	listener    net.Listener
	limit       *limitListener // wraps listener
	ready       chan struct{}
}

// Open listens on cfg.Addr, but does nothing more: the address is known, and a port that is taken is told of at once.
// The server logs to stderr; if that is a terminal, it shows a bar there while a table is filled. Run must be called,
// or Close.
//
// Its errors, and Run's, are one line each, and have no password in them.
func Open(cfg Config, stderr io.Writer, options ...Option) (*Server, error) {
	s := &Server{cfg: cfg, stderr: stderr, logger: NewLogger(cfg, stderr), ready: make(chan struct{})}
	for _, option := range options {
		option(s)
	}
	if err := s.open(); err != nil {
		s.close(context.Background())
		return nil, err
	}
	return s, nil
}

// An Option configures a [Server] beyond its Config.
type Option func(*Server)

// WithExporter makes the server export traces and metrics if OpenTelemetry's environment variables (OTEL_*) ask for it.
// Without it, such a variable is an error.
func WithExporter(newExporter telemetry.NewExporter) Option {
	return func(s *Server) { s.newExporter = newExporter }
}

func (s *Server) open() (err error) {
	problems := new(lastLines)
	if s.cfg.Telemetry {
		s.logger = problems.logTo(s.logger)
		if s.telemetry, err = telemetry.New(context.Background(), s.newExporter, s.logger); err != nil {
			return err
		}
		s.logger = slog.New(s.telemetry.LogHandler(s.logger.Handler()))
	}
	if s.backend, err = openBackend(s.cfg, s.telemetry, s.logger); err != nil {
		return err
	}
	if err = s.answer(); err != nil {
		return err
	}
	s.http = NewHTTPServer(s.handler, time.Duration(s.cfg.QueryTimeout), s.logger)
	if s.telemetry != nil {
		if err := s.measure(problems); err != nil {
			return err
		}
	}
	if s.listener, err = listen(s.cfg.Addr); err != nil {
		return err
	}
	s.limit = newLimitListener(s.listener, int(s.cfg.MaxConnections))
	s.http.ConnState = s.limit.state
	if s.telemetry != nil {
		s.telemetry.MeasureConnections(s.limit.open.Load, s.limit.rejected.Load)
	}
	return nil
}

// answer makes the engine, and the handler of all that there is to be asked for.
func (s *Server) answer() error {
	var hooks []points.Hooks
	if s.telemetry != nil {
		hooks = append(hooks, s.telemetry.Hooks(s.backend.store()))
	}
	outages := outages{logger: s.logger}
	updates := new(updates)
	long := longUpdates{logger: s.logger}
	hooks = append(hooks,
		points.Hooks{BatchEnd: outages.batch, UpdateStart: updates.started, UpdateEnd: updates.ended},
		points.Hooks{UpdateStart: long.started, UpdateProgress: long.progress})
	engine, err := points.New(s.backend.store(), points.Config{
		Interval:      time.Duration(s.cfg.Interval),
		QueryTimeout:  time.Duration(s.cfg.QueryTimeout),
		MaxWaiting:    int(s.cfg.MaxWaiting),
		UpdateOnStart: s.cfg.UpdateOnStart,
		StopTimeout:   drainTimeout,
		Logger:        s.logger,
		Hooks:         points.JoinHooks(hooks...),
	})
	if err != nil {
		return err
	}
	s.engine = engine
	s.handler = NewHandler(engine, s.backend.ping)
	s.handler.updates, s.handler.logger = updates, s.logger
	s.handler.Starting("the store is being opened")
	described, err := apidoc.Handlers()
	if err != nil {
		return err
	}
	for path, handler := range described {
		s.handler.more[path] = readOnly(handler)
	}
	if s.cfg.ControlToken != "" {
		maps.Copy(s.handler.more, s.handler.control(s.cfg.ControlToken))
	}
	return nil
}

// measure has all that the server does measured, and shown at /metrics and /dashboard.
func (s *Server) measure(problems *lastLines) error {
	s.telemetry.MeasureEngine(s.engine)
	s.telemetry.ClientClosed = ClientClosed
	page := s.newDashboard(problems)
	pages, err := page.Handlers()
	if err != nil {
		return err
	}
	for path, handler := range pages {
		s.handler.more[path] = readOnly(handler)
	}
	s.handler.more["/metrics"] = readOnly(s.telemetry.Metrics())
	s.http.Handler = s.telemetry.Middleware(s.handler, s.handler.paths())
	s.http.RegisterOnShutdown(page.Close) // else it would wait for pages that are open
	return nil
}

// close closes what has been opened, but for the listener.
func (s *Server) close(ctx context.Context) {
	if s.backend != nil {
		s.backend.close()
	}
	if s.telemetry != nil {
		ctx, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		if err := s.telemetry.Shutdown(ctx); err != nil {
			s.logger.Warn("the last of the telemetry is lost", "error", oneLine(err))
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

// Run creates and fills the table if need be, and then answers queries and lets ticks come until ctx ends. Then it
// stops listening, answers the queries that wait, stops a running update, and closes everything, within 10 seconds;
// it returns nil. It returns an error if the table cannot be had, or if listening fails. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(s.serve)
	group.Go(func() error { return s.work(running) })
	group.Go(func() error {
		<-running.Done()
		if ctx.Err() != nil {
			s.logger.Info("shutting down")
		}
		s.drain(running)
		return nil
	})
	err := group.Wait()
	s.closeInTime(ctx)
	if ctx.Err() == nil {
		return err
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.logger.Warn("something did not stop as it should", "error", oneLine(err))
	}
	s.logger.Info("stopped")
	return nil
}

func (s *Server) serve() error {
	if err := Serve(s.http, s.limit); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listening on %s failed: %w", s.Addr(), err)
	}
	return nil
}

// work prepares the store, and lets ticks come until ctx ends.
func (s *Server) work(ctx context.Context) error {
	progress := progress{logger: s.logger, handler: s.handler, w: s.stderr, terminal: isTerminal(s.stderr)}
	users, err := s.backend.prepare(ctx, progress.show)
	progress.end()
	if err != nil {
		return err
	}
	logger := s.logger
	if users >= 0 {
		logger = logger.With("users", users)
	}
	logger.Info("serving", "url", "http://"+s.Addr().String()+"/", "store", s.backend.name(),
		"interval", time.Duration(s.cfg.Interval))
	s.handler.Serving()
	close(s.ready)
	return s.engine.Run(ctx)
}

// drain stops listening, and waits until all queries are answered.
func (s *Server) drain(ended context.Context) {
	s.handler.Stopping()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ended), drainTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.logger.Warn("some queries were not answered in time", "timeout", drainTimeout)
		s.http.Close() //nolint:errcheck // there is nothing left to do about it
	}
}

// closeInTime closes everything, but does not wait for a connection that hangs.
func (s *Server) closeInTime(ended context.Context) {
	closed := make(chan struct{})
	go func() {
		s.close(context.WithoutCancel(ended))
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout + closeTimeout/4):
		s.logger.Warn("the database's connections were cut", "timeout", closeTimeout)
	}
}
