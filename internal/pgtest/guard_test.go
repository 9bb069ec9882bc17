package pgtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests below run TestChild in another process, and then look for what that left behind.
const childEnv = "PGTEST_CHILD"

func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("the tests below run it in a process of its own")
	}
	URL(t)
	fmt.Fprintln(os.Stdout, started.server.url)
	_, err := io.Copy(io.Discard, os.Stdin)
	require.NoError(t, err)
}

func TestNothingIsLeftBehind(t *testing.T) {
	for name, env := range map[string]string{
		"container": "PGTEST=",
		"cluster":   "DOCKER_HOST=unix:///nowhere",
	} {
		t.Run(name+", after the tests", func(t *testing.T) {
			child := startChild(t, env)
			require.NoError(t, ping(t.Context(), child.url))
			require.NoError(t, child.stdin.Close())
			require.NoError(t, child.command.Wait())
			assert.True(t, child.cleared(t))
		})
		t.Run(name+", when the test binary was killed", func(t *testing.T) {
			child := startChild(t, env)
			require.NoError(t, ping(t.Context(), child.url))
			require.NoError(t, child.command.Process.Kill())
			require.Error(t, child.command.Wait())
			assert.Eventually(t, func() bool { return child.cleared(t) }, endTimeout, 50*time.Millisecond)
		})
	}
}

// A child is a process that runs TestChild: it has started a server and waits.
type child struct {
	command *exec.Cmd
	stdin   io.Closer
	url     string
	temp    string // its folder for temporary files
}

func (c *child) cleared(t *testing.T) bool {
	return ping(t.Context(), c.url) != nil && len(files(t, c.temp)) == 0
}

func startChild(t *testing.T, env string) *child {
	t.Helper()
	c := &child{command: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$"), temp: publicDir(t)}
	c.command.Env = append(os.Environ(), childEnv+"=1", "CI=", "POINTS_TEST_DATABASE_URL=", "TMPDIR="+c.temp, env)
	c.command.Stderr = os.Stderr
	var err error
	c.stdin, err = c.command.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.command.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	if !strings.HasPrefix(line, "postgres://") {
		require.NoError(t, c.command.Wait())
		t.Skip("the child has no server")
	}
	c.url = strings.TrimSpace(line)
	return c
}
