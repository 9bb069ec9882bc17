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
	readyTimeout = 2 * time.Minute
	endTimeout   = time.Minute
)

// A guard is a shell script that looks after a server. It prints "ready" once the server is, waits for its standard
// input to end, and removes the server. Its standard input ends when this process says so, and also when this process
// ends, however that comes to pass: it may be killed. (Linux's parent death signal would come when a thread ends.)
type guard struct {
	script *exec.Cmd
	stdin  io.Closer
	output *os.File
}

// guardScript returns the command of a guard's script.
func guardScript(script string, args ...string) *exec.Cmd {
	command := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...) //nolint:noctx // it outlives a test
	detach(command)
	return command
}

// startGuard starts the script and waits until it is ready. If it ends instead, the error is what it printed.
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
	g := &guard{script, stdin, output}
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
	lines := bufio.NewScanner(g.output)
	for lines.Scan() {
		if lines.Text() == "ready" {
			return nil
		}
		printed = append(printed, lines.Text())
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New(strings.Join(printed, "; "))
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
