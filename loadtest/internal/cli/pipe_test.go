//go:build unix

package cli

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// newPipe returns the name of a new named pipe.
func newPipe(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(name, 0o600))
	return name
}

// TestPipeWithoutReader interrupts commands that wait for a reader of their output.
func TestPipeWithoutReader(t *testing.T) {
	server := respond(t, http.StatusOK).URL
	run := measured(t, "run.json", server)
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for name, args := range map[string][]string{"run": {"-q", server}, "merge": {"merge", run}} {
		pipe := newPipe(t)
		at := len(args) - 1
		_, errs, code := call(interrupted, append(append(args[:at:at], "-json", pipe), args[at])...)
		assert.Equal(t, exitFailed, code, name)
		assert.Equal(t, "loadtest: cannot write the output: interrupted: no process has opened the pipe "+pipe+" for reading\n", errs, name)
		reader, err := os.Open(pipe) // ends the goroutine that still waits
		require.NoError(t, err)
		require.NoError(t, reader.Close())
	}
}

// TestPipeWithReader writes to a named pipe that has a reader.
func TestPipeWithReader(t *testing.T) {
	pipe := newPipe(t)
	content := make(chan []byte, 1)
	go func() {
		b, err := os.ReadFile(pipe)
		assert.NoError(t, err)
		content <- b
	}()
	_, errs, code := call(t.Context(), "-q", "-n", "5", "-json", pipe, respond(t, http.StatusOK).URL)
	require.Equal(t, exitOK, code, errs)
	result, err := report.ReadJSON(bytes.NewReader(<-content))
	require.NoError(t, err)
	assert.EqualValues(t, 5, result.Counts.Complete)
}

// TestPipeWithoutWriter interrupts commands that wait for a writer of their input.
func TestPipeWithoutWriter(t *testing.T) {
	server := respond(t, http.StatusOK).URL
	run := measured(t, "run.json", server)
	for name, args := range map[string][]string{
		"body":              {"-q", "-p", "PIPE", server},
		"targets":           {"-q", "-targets", "PIPE", server},
		"body of a target":  {"-q", "-targets", "TARGETS", server},
		"certificates":      {"-q", "-cacert", "PIPE", "https://127.0.0.1:1/"},
		"client key":        {"-q", "-cert", "TARGETS", "-key", "PIPE", "https://127.0.0.1:1/"},
		"run to compare":    {"-q", "-compare", "PIPE", server},
		"run to merge":      {"merge", run, "PIPE"},
		"run to merge with": {"merge", "-compare", "PIPE", run},
	} {
		t.Run(name, func(t *testing.T) {
			pipe := newPipe(t)
			targets := filepath.Join(t.TempDir(), "targets")
			require.NoError(t, os.WriteFile(targets, []byte("POST /\n@"+pipe+"\n"), 0o600))
			for i, arg := range args {
				args[i] = strings.NewReplacer("PIPE", pipe, "TARGETS", targets).Replace(arg)
			}
			waitsFor := pipe
			if i := slices.Index(args, "-targets"); i >= 0 {
				waitsFor = args[i+1] + " and the bodies that it names"
			}
			interrupted, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, errs, code := call(interrupted, args...)
			assert.Equal(t, exitFailed, code)
			require.Equal(t, "loadtest: interrupted while reading "+waitsFor+"\n", errs)
			writer, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0) // ends the goroutine that still waits
			require.NoError(t, err)
			require.NoError(t, writer.Close())
		})
	}
}
