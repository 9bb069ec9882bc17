package pgtest

import (
	"context"
	"testing"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// A Server is a PostgreSQL server that belongs to one test, which may stop or break it. It is not safe for concurrent
// use.
type Server struct {
	URL       string // connection string of its superuser
	SmallDisk string // a folder on a disk of 16 MB that the server can write to; empty if it has none

	t      testing.TB
	server *server
}

// NewServer starts a server, in Docker or else with PostgreSQL's programs, and removes it at the end of the test. With
// neither of them the test is skipped, or fails where CI is set.
func NewServer(t testing.TB) *Server {
	t.Helper()
	server, err := startServer()
	if err != nil {
		unavailable(t, err)
	}
	t.Logf("PostgreSQL: %s", server.origin)
	return forTest(t, server)
}

// forTest returns the Server that a test gets, and removes it at the end of the test.
func forTest(t testing.TB, server *server) *Server {
	t.Helper()
	t.Cleanup(func() {
		if err := server.remove(); err != nil {
			t.Errorf("pgtest: removing %s: %v", server.origin, err)
		}
	})
	return &Server{server.url, server.smallDisk, t, server}
}

// Standby starts a streaming standby of this server, which is read-only until it is promoted. Only a server in Docker
// can have one; otherwise the test is skipped, or fails where CI is set.
func (s *Server) Standby() *Server {
	s.t.Helper()
	if s.server.container == "" {
		testenv.SkipOrFailf(s.t, "pgtest: only a server in Docker can have a standby: start Docker")
	}
	standby, err := startStandby(s.server)
	if err != nil {
		s.t.Fatalf("pgtest: starting a standby of %s: %v", s.server.origin, err)
	}
	return forTest(s.t, standby)
}

// Promote promotes a standby and waits until it is a primary.
func (s *Server) Promote() {
	s.t.Helper()
	if err := s.server.exec("SELECT pg_promote()"); err != nil {
		s.t.Fatalf("pgtest: promoting %s: %v", s.server.origin, err)
	}
}

// Stop shuts the server down in fast mode: it closes all connections and writes a checkpoint.
func (s *Server) Stop() { s.command("stop") }

// Kill kills the server, as a power failure would.
func (s *Server) Kill() { s.command("kill") }

// Start starts the stopped server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.command("start")
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	if _, err := firstToAnswer(ctx, s.URL); err != nil {
		s.t.Fatalf("pgtest: %s does not answer: %v", s.server.origin, err)
	}
}

func (s *Server) command(command string) {
	s.t.Helper()
	if err := s.server.command(command); err != nil {
		s.t.Fatalf("pgtest: %s: %s: %v", s.server.origin, command, err)
	}
}
