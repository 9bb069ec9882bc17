package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	readyTimeout = 5 * time.Minute // machines are slow and busy
	endTimeout   = 3 * time.Minute
)

// A guard is a shell script that runs a server. It prints "ready" when the server is up, and then, for each command, a
// line on its standard input, "ready" or "failed". At the end of its standard input it removes the server. So the
// server goes when this process says so, and also when this process is killed. (Linux's parent death signal would come
// when a thread ends.)
type guard struct {
	script *exec.Cmd
	stdin  io.WriteCloser
	output *os.File
	lines  *bufio.Scanner // of output
}

// guardScript returns the command of a guard's script.
func guardScript(script string, args ...string) *exec.Cmd {
	command := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...) //nolint:noctx // it outlives a test
	detach(command)
	return command
}

// startGuard starts the script and waits until it is ready. If the script ends instead, the error is its output.
func startGuard(script *exec.Cmd) (*guard, error) {
	output, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	script.Stdout, script.Stderr = theirs, theirs
	stdin, err := script.StdinPipe()
	if err == nil {
		err = script.Start()
	}
	// Without this process's copy of it, the output ends when the script does.
	if err := errors.Join(err, theirs.Close()); err != nil {
		return nil, errors.Join(err, output.Close())
	}
	g := &guard{script, stdin, output, bufio.NewScanner(output)}
	if err := g.untilReady(); err != nil {
		g.end() //nolint:errcheck // it fails, as the script did
		return nil, err
	}
	return g, nil
}

func (g *guard) untilReady() error {
	if err := g.output.SetReadDeadline(time.Now().Add(readyTimeout)); err != nil {
		return err
	}
	var printed []string
	for g.lines.Scan() {
		switch g.lines.Text() {
		case "ready":
			return nil
		case "failed":
			return errors.New(strings.Join(printed, "; "))
		}
		printed = append(printed, g.lines.Text())
	}
	if err := g.lines.Err(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.Join(printed, "; "))
	}
	return errors.New(strings.Join(printed, "; "))
}

// command sends a command to the script and waits until it is done.
func (g *guard) command(command string) error {
	if _, err := io.WriteString(g.stdin, command+"\n"); err != nil {
		return err
	}
	return g.untilReady()
}

// end lets the script remove its server, and waits until it has.
func (g *guard) end() error {
	defer g.output.Close() //nolint:errcheck // only read from
	closed := g.stdin.Close()
	if err := g.output.SetReadDeadline(time.Now().Add(endTimeout)); err != nil {
		return errors.Join(closed, err)
	}
	printed, err := io.ReadAll(g.output)
	if err != nil {
		return errors.Join(closed, err)
	}
	if err := g.script.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(printed)))
	}
	return closed
}
