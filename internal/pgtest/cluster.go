package pgtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// installed is where Debian and its like install PostgreSQL's programs, one folder for each version and not in PATH.
const installed = "/usr/lib/postgresql/*/bin"

// runCluster is what the guard of a cluster does. There is no socket: its path could be too long.
const runCluster = `
bin=$1 directory=$2 port=$3
trap 'rm -rf "$directory"' EXIT
umask 077
echo "$PASSWORD" >"$directory/password"
"$bin/initdb" --pgdata="$directory/data" --username=postgres --auth=scram-sha-256 --pwfile="$directory/password" \
	--encoding=UTF8 --locale=C --no-sync >/dev/null || exit 1
control() {
	"$bin/pg_ctl" "$@" --pgdata="$directory/data" --log="$directory/log" --wait \
		--options="-h 127.0.0.1 -p $port -c unix_socket_directories=''" >/dev/null
}
again() { # after a crash it takes a moment until the other processes have noticed, and have ended
	for attempt in 1 2 3 4 5 6 7 8 9; do
		if control start 2>/dev/null; then return; fi
		sleep 0.$attempt
	done
	control start || { tail -n 3 "$directory/log"; return 1; }
}
control start || { cat "$directory/log"; exit 1; }
echo ready
while read -r order; do
	case $order in
	start) again ;;
	stop) control stop --mode=fast ;;
	kill) kill -KILL "$(head -n 1 "$directory/data/postmaster.pid")" ;;
	esac && echo ready || echo failed
done
if control status; then control stop --mode=immediate; fi
`

// startCluster starts a throwaway cluster with the newest PostgreSQL programs that the folders, or else PATH, have.
func startCluster(folders string) (*server, error) {
	bin, err := programs(folders)
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "points-test-")
	if err != nil {
		return nil, err
	}
	cluster, err := startClusterIn(directory, bin)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", bin, err), os.RemoveAll(directory))
	}
	return cluster, nil
}

func startClusterIn(directory, bin string) (*server, error) {
	password := rand.Text()
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	script := guardScript(runCluster, bin, directory, port)
	script.Dir = directory
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "PASSWORD=" + password} // no PGPORT and the like
	if err := runUnprivileged(script, directory); err != nil {
		return nil, err
	}
	guard, err := startGuard(script)
	if err != nil {
		return nil, err
	}
	return &server{
		origin: "a throwaway cluster of " + bin,
		url:    connectionString(password, "127.0.0.1", port),
		order:  guard.order,
		remove: func() error { return errors.Join(guard.end(), os.RemoveAll(directory)) },
	}, nil
}

// programs returns the folder that has initdb, pg_ctl and postgres.
func programs(folders string) (string, error) {
	found, err := filepath.Glob(filepath.Join(folders, "initdb"))
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
		return filepath.Dir(newest), nil
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("no initdb in %s or PATH", folders)
	}
	// It may be a link: the other programs are where it leads.
	if initdb, err = filepath.EvalSymlinks(initdb); err != nil {
		return "", err
	}
	return filepath.Dir(initdb), nil
}

// version returns the version in /usr/lib/postgresql/VERSION/bin/initdb; 0 if it is none.
func version(initdb string) float64 {
	number, err := strconv.ParseFloat(filepath.Base(filepath.Dir(filepath.Dir(initdb))), 64)
	if err != nil {
		return 0
	}
	return number
}

// freePort returns a port that nobody listens on. It is not one that the system gives to connections, which a busy
// test beside this one would take before the server does.
func freePort() (string, error) {
	var config net.ListenConfig
	var last error
	for range 10 {
		port := strconv.Itoa(20_000 + mathrand.IntN(10_000))
		listener, err := config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return port, listener.Close()
		}
		last = err
	}
	return "", last
}
