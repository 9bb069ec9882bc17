// Package system tests the programs as users run them: built, started as processes or containers, and under load. It
// also compiles the library in a module of its own. These tests take minutes and need Docker, ab and the network or a
// filled module cache, so a flag enables them:
//
//	go test ./internal/system -system -v
package system

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

const (
	root     = "../.."
	patience = 5 * time.Minute // for what must happen, on a busy machine
	often    = 100 * time.Millisecond
)

var enabled = flag.Bool("system", false, "run the tests of the built programs")

// interrupted ends at an interrupt or SIGTERM. It ends all commands, so that the test fails and cleans up.
var interrupted, stopNotify = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)

func TestMain(m *testing.M) {
	code := pgtest.Main(m).Run()
	stopNotify()
	os.Exit(code)
}

func needFlag(t *testing.T) {
	t.Helper()
	if !*enabled {
		t.Skip("go test ./internal/system -system runs the tests of the built programs")
	}
}

// need skips the test, or fails it where CI is set, unless the machine has all of the programs.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			testenv.SkipOrFailf(t, "%s is not installed", program)
		}
	}
}

// command returns a command that runs in the root of the repository.
func command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(interrupted, program, args...)
	cmd.Dir = root
	cmd.WaitDelay = patience
	return cmd
}

// try runs a command and returns its standard output without the white space around it. The error holds the end of
// standard error.
func try(cmd *exec.Cmd) (string, error) {
	output, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = errors.New(cmd.String() + ": " + err.Error() + "\n" + string(output) + string(exit.Stderr))
	}
	return strings.TrimSpace(string(output)), err
}

// output runs a command that must succeed and returns its output as try does.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	text, err := try(cmd)
	require.NoError(t, err)
	return text
}

// build compiles a program of this repository.
func build(t *testing.T, path string, env ...string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), filepath.Base(path))
	cmd := command("go", "build", "-o", program, "./"+path)
	cmd.Env = append(os.Environ(), env...)
	output(t, cmd)
	return program
}

// get returns the body of an answer with status 200.
func get(url string) (body string, err error) {
	ctx, cancel := context.WithTimeout(interrupted, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(url + ": " + response.Status + ": " + string(text))
	}
	return strings.TrimSpace(string(text)), err
}

// eventually waits until the condition holds. The message says what did not happen.
func eventually(t *testing.T, condition func() bool, message string, args ...any) {
	t.Helper()
	require.Eventually(t, func() bool { return interrupted.Err() != nil || condition() }, patience, often,
		append([]any{message}, args...)...)
	require.NoError(t, interrupted.Err())
}

// docker returns a docker command.
func docker(args ...string) *exec.Cmd {
	return command("docker", args...)
}

// cleanDocker runs a docker command at the end of the test, also after an interrupt.
func cleanDocker(t *testing.T, args ...string) {
	t.Helper()
	t.Cleanup(func() {
		cmd := exec.Command("docker", args...) // without a context: it must run to its end
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v: %s", cmd, err, stderr.String())
		}
	})
}
