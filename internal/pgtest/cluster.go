package pgtest

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// installed is where Debian installs PostgreSQL's programs: one folder per version, none of them in PATH.
const installed = "/usr/lib/postgresql/*/bin"

// runCluster is the guard script of a cluster. There is no Unix socket: its path could be too long.
const runCluster = `
bin=$1 directory=$2 port=$3
shift 3
settings=$*
trap 'rm -rf "$directory"' EXIT
umask 077
echo "$PASSWORD" >"$directory/password"
"$bin/initdb" --pgdata="$directory/data" --username=postgres --auth=scram-sha-256 --pwfile="$directory/password" \
	--encoding=UTF8 --locale=C --no-sync >/dev/null || exit 1
control() {
	"$bin/pg_ctl" "$@" --pgdata="$directory/data" --log="$directory/log" --wait --timeout=240 \
		--options="-h 127.0.0.1 -p $port -c unix_socket_directories='' $settings" >/dev/null
}
restart() { # after a crash it takes a moment until all processes of the old server have ended
	for attempt in 1 2 3 4 5 6 7 8 9; do
		if control start 2>/dev/null; then return; fi
		sleep $attempt
	done
	control start || { tail -n 3 "$directory/log"; return 1; }
}
control start || { cat "$directory/log"; exit 1; }
echo ready
while read -r command; do
	case $command in
	start) restart ;;
	stop) control stop --mode=fast ;;
	kill) kill -KILL "$(head -n 1 "$directory/data/postmaster.pid")" ;;
	esac && echo ready || echo failed
done
if control status; then control stop --mode=immediate; fi
`

// startCluster starts a throwaway cluster with the newest PostgreSQL programs in the folders, or else in PATH.
func startCluster(folders string) (*server, error) {
	bin, err := programs(folders)
	if err != nil {
		return nil, err
	}
	password := rand.Text()
	port, err := testenv.FreePort()
	if err != nil {
		return nil, err
	}
	script := guardScript(runCluster)
	directory, err := unprivilegedDir(script)
	if err != nil {
		return nil, err
	}
	script.Args = append(append(script.Args, bin, directory, port), settings()...)
	script.Dir = directory
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "PASSWORD=" + password} // no PGPORT and the like
	guard, err := startGuard(script)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", bin, err), os.RemoveAll(directory))
	}
	return &server{
		origin:  "a throwaway cluster of " + bin,
		url:     connectionString(password, "127.0.0.1", port),
		command: guard.command,
		remove:  func() error { return errors.Join(guard.end(), os.RemoveAll(directory)) },
	}, nil
}

// programs returns the folder of initdb, pg_ctl and postgres.
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
	// It may be a link: the other programs are beside its target.
	if initdb, err = filepath.EvalSymlinks(initdb); err != nil {
		return "", err
	}
	return filepath.Dir(initdb), nil
}

// version returns the version in /usr/lib/postgresql/VERSION/bin/initdb, 0 if there is none.
func version(initdb string) float64 {
	number, err := strconv.ParseFloat(filepath.Base(filepath.Dir(filepath.Dir(initdb))), 64)
	if err != nil {
		return 0
	}
	return number
}
