//go:build unix

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	osexec "os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

// A process is a server that runs as a process of its own, at the same address whenever it runs.
type process struct {
	*testServer

	name    string // config.Config.Instance, also its application_name in PostgreSQL
	args    []string
	command *osexec.Cmd // nil while it does not run
}

// startProcess starts a server as a process of its own. It is killed at the end of the test.
func startProcess(t *testing.T, cfg config.Config) *process {
	t.Helper()
	port, err := testenv.FreePort()
	require.NoError(t, err)
	address := "127.0.0.1:" + port
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	p := &process{
		testServer: &testServer{
			url: "http://" + address, log: new(testenv.Log), client: &http.Client{Transport: transport, Timeout: patience},
		},
		name: string(cfg.Instance),
		args: []string{
			"-addr=" + address, "-database-url=" + string(cfg.DatabaseURL) + "&application_name=" + string(cfg.Instance),
			fmt.Sprintf("-shared=%t", cfg.Shared),
			"-instance=" + string(cfg.Instance), fmt.Sprintf("-users=%d", cfg.Users),
			"-interval=" + time.Duration(cfg.Interval).String(), "-query-timeout=" + time.Duration(cfg.QueryTimeout).String(),
		},
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if p.command != nil {
			_ = p.command.Process.Kill()
			_ = p.command.Wait()
		}
		if t.Failed() {
			t.Logf("the log of %s:\n%s", p.url, p.log)
		}
	})
	p.start(t)
	return p
}

// start starts the server, and waits until it is ready.
func (p *process) start(t *testing.T) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	p.command = osexec.Command(program, p.args...)
	p.command.Env = []string{beServer + "=1", "SHUTDOWN_DELAY=0s"}
	p.command.Stderr = p.log
	testenv.EndWithParent(p.command)
	require.NoError(t, p.command.Start())
	require.Eventually(t, func() bool {
		a, err := p.do(http.MethodGet, "/readyz")
		return err == nil && a.status == http.StatusOK
	}, patience, pollInterval, "the server does not get ready")
}

// end ends the server with a signal, SIGTERM or SIGKILL.
func (p *process) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, p.command.Process.Signal(signal))
	err := p.command.Wait()
	p.command = nil
	if signal == syscall.SIGTERM {
		assert.NoError(t, err, "%s", p.log)
	}
}

// checkLog checks that the race detector has found nothing, and clears the log.
func (p *process) checkLog(t *testing.T) {
	t.Helper()
	assert.NotContains(t, p.log.String(), "DATA RACE")
	p.log.Drain()
}
