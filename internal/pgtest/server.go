package pgtest

import (
	"flag"
	"fmt"
	"net"
	"os"
)

// A server is a running PostgreSQL.
type server struct {
	origin string // for messages
	url    string // connection string of a user that may create databases

	container string // its name; empty if it is not in Docker
	smallDisk string // see Server.SmallDisk

	// Both are nil if this package did not start the server.
	command func(string) error // stop, kill or start
	remove  func() error       // also stops it
}

// connectionString returns the connection string of the user postgres.
func connectionString(password, host, port string) string {
	return fmt.Sprintf("postgres://postgres:%s@%s/postgres?sslmode=disable", password, net.JoinHostPort(host, port))
}

// start returns the first available server. Its error says why there is none and how to get one.
func start() (*server, error) {
	if url := os.Getenv("POINTS_TEST_DATABASE_URL"); url != "" {
		return &server{origin: "POINTS_TEST_DATABASE_URL", url: url}, nil
	}
	return startServer()
}

// startServer starts a server: in Docker, or else with PostgreSQL's programs.
func startServer() (*server, error) {
	inDocker, dockerErr := startContainer()
	if dockerErr == nil {
		return inDocker, nil
	}
	onMachine, binariesErr := startCluster(installed)
	if binariesErr == nil {
		onMachine.origin += fmt.Sprintf(", as there is none in Docker: %v", dockerErr)
		return onMachine, nil
	}
	return nil, fmt.Errorf("set POINTS_TEST_DATABASE_URL, or start Docker (%w), or install PostgreSQL's server (%w)",
		dockerErr, binariesErr)
}

// settings returns options of the command postgres. Tests of databases spend much of their time on fsync, which matters
// to benchmarks, but to a test only if the operating system crashes.
func settings() []string {
	if benchmarksRun() {
		return nil
	}
	return []string{"-c", "fsync=off"}
}

func benchmarksRun() bool {
	f := flag.Lookup("test.bench")
	return f != nil && f.Value.String() != ""
}
