//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const runMain = "LOADTEST_RUN_MAIN"

// TestMain runs main instead of the tests in a process that command has started.
func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command returns the command loadtest with the given arguments.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = append(os.Environ(), runMain+"=1")
	return c
}

// TestClosedStdout closes the reader of stdout, as in `loadtest -json FILE … | head -1`.
func TestClosedStdout(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	file := filepath.Join(t.TempDir(), "r.json")
	c := command(t, "-n", "10", "-json", file, server.URL)
	c.Stdout = w
	assert.NoError(t, c.Run())
	require.NoError(t, w.Close())
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.True(t, json.Valid(content), "%q", content)
}

// TestUnreachableLeavesNoFile tests a run that never starts.
func TestUnreachableLeavesNoFile(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	file := filepath.Join(t.TempDir(), "r.json")
	require.Error(t, command(t, "-json", file, server.URL).Run())
	assert.NoFileExists(t, file)
}

// TestFullDisk limits the size of files, so that the JSON and the page cannot be written, but the CSV can.
func TestFullDisk(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -f 8; "$LOADTEST" -q -json r.json -html r.html -e r.csv `+server.URL)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), runMain+"=1", "LOADTEST="+os.Args[0])
	old := filepath.Join(c.Dir, "r.json")
	require.NoError(t, os.WriteFile(old, []byte("old"), 0o600))
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	require.Error(t, c.Run())
	assert.Contains(t, stdout.String(), "Complete requests:      1\n")
	assert.Equal(t, "loadtest: cannot write r.json: file too large\nloadtest: cannot write r.html: file too large\n", stderr.String())
	content, err := os.ReadFile(old)
	require.NoError(t, err)
	assert.Equal(t, "old", string(content))
	files, err := filepath.Glob(filepath.Join(c.Dir, "*"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(c.Dir, "r.csv"), old}, files)
}

// TestSecondSignalEndsProcess blocks the command after the first signal: the pipe for its page has no reader.
func TestSecondSignalEndsProcess(t *testing.T) {
	received := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		received <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	fifo := filepath.Join(t.TempDir(), "page")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	pipe, err := os.OpenFile(fifo, os.O_RDWR, 0)
	require.NoError(t, err)
	defer pipe.Close()
	fill(t, pipe)

	c := command(t, "-html", fifo, server.URL)
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	<-received
	require.NoError(t, c.Process.Signal(os.Interrupt))
	for lines := bufio.NewScanner(stdout); lines.Scan() && !strings.HasSuffix(lines.Text(), "..done"); {
	}
	require.NoError(t, c.Process.Signal(os.Interrupt))
	err = c.Wait()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, os.Interrupt, exit.Sys().(syscall.WaitStatus).Signal())
}

// fill fills the buffer of a pipe.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	raw, err := pipe.SyscallConn()
	require.NoError(t, err)
	chunk := make([]byte, 4096)
	require.NoError(t, raw.Write(func(fd uintptr) bool {
		for {
			if _, err := syscall.Write(int(fd), chunk); err != nil {
				return true // EAGAIN: the pipe is full
			}
		}
	}))
}
