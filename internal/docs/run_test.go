//go:build unix

package docs

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// TestCommands runs the commands of the documents as commands.txt says. The address of a server of its own replaces the
// one in the documents.
func TestCommands(t *testing.T) {
	if !*runThem {
		t.Skip("go test ./internal/docs -commands runs the commands of the documents")
	}
	address := startServer(t)
	stand := strings.NewReplacer("localhost:4000", address, "127.0.0.1:4000", address, " URL", " http://"+address+"/",
		"postgres://user:password@host/db", `"$DATABASE"`)
	env := append(os.Environ(), "DATABASE="+pgtest.URL(t), "SCRATCH="+t.TempDir())
	for _, e := range readTable(t) {
		for _, how := range e.hows {
			switch how.verb {
			case "run":
				if how.what == "" {
					how.what = e.command
				}
				t.Run(how.what, func(t *testing.T) { run(t, stand.Replace(how.what), env) })
			case "serve":
				path, command, ok := strings.Cut(how.what, " ")
				if !ok {
					command = e.command
				}
				t.Run(command, func(t *testing.T) { serve(t, path, stand.Replace(command), env) })
			}
		}
	}
}

// startServer builds and starts the reference server, and returns its address.
func startServer(t *testing.T) (address string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "server")
	run(t, "go build -o "+program+" ./examples/server", os.Environ())
	address = freeAddress(t)
	cmd := shell(t, "exec "+program, append(os.Environ(), "ADDR="+address))
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait())
	})
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, time.Minute, 50*time.Millisecond, "the server does not answer")
	return address
}

// run runs a command in the root of the repository.
func run(t *testing.T, command string, env []string) {
	t.Helper()
	output, err := shell(t, command, env).CombinedOutput()
	require.NoError(t, err, "%s", output)
	t.Logf("%s", output)
}

// serve runs the command of a server until it answers at the path, and then interrupts it.
func serve(t *testing.T, path, command string, env []string) {
	t.Helper()
	address := freeAddress(t)
	cmd := shell(t, command, append(env, "ADDR="+address))
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() //nolint:errcheck // an interrupt may be an error
	}()
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://" + address + path)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, 5*time.Minute, 50*time.Millisecond, "it does not answer")
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	<-ended
}

// shell returns a command whose processes are killed at the end of the test.
func shell(t *testing.T, command string, env []string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", command)
	cmd.Dir, cmd.Env = root, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the error of a group that has ended
		}
	})
	return cmd
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}
