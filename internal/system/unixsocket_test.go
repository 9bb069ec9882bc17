package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// testUnixSocket is a part of TestDeploymentFiles. It starts the server on a Unix socket, and before it load balancers with
// the lines of docs/deploy.md. The load tester uses the same socket.
func testUnixSocket(t *testing.T) {
	need(t, "nginx", "haproxy", "caddy")
	const documented = "/run/points/points.sock"
	folder := t.TempDir()
	socket := filepath.Join(folder, "socket")
	program, loadtest := build(t, "examples/server"), build(t, "loadtest")
	server := command(program, "-addr=unix:"+socket, "-users=1000", "-shutdown-delay=0")
	logged := new(testenv.Log)
	server.Stderr = logged
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill() })
	eventually(t, func() bool {
		return command(program, "-healthcheck", "-addr=unix:"+socket).Run() == nil
	}, "the server does not get ready: %s", logged)
	report := output(t, command(loadtest, "-q", "-l", "-n1000", "-c10", "-unix-socket="+socket, "http://localhost/"))
	assert.Regexp(t, `(?m)^Complete requests: +1000$`, report)
	assert.Regexp(t, `(?m)^Failed requests: +0$`, report)

	text, err := os.ReadFile(filepath.Join(root, "docs/deploy.md"))
	require.NoError(t, err)
	for _, test := range []struct {
		line, config string // config has LINE and ADDRESS
		command      []string
	}{
		{
			"`unix:" + documented + "`",
			"events {}\nhttp {\naccess_log off;\nupstream points { server LINE; }\nserver {\nlisten ADDRESS;\nlocation / { proxy_pass http://points; }\n}\n}\n",
			[]string{"nginx", "-p", folder, "-e", "stderr", "-g", "daemon off; master_process off; pid " + folder + "/pid;", "-c"},
		},
		{
			"`unix@" + documented + "`",
			"defaults\nmode http\ntimeout connect 1s\ntimeout client 5s\ntimeout server 5s\nfrontend f\nbind ADDRESS\ndefault_backend b\nbackend b\noption httpchk GET /readyz\nserver s LINE check\n",
			[]string{"haproxy", "-db", "-f"},
		},
		{
			"`reverse_proxy unix/" + documented + "`",
			"{\nadmin off\n}\nhttp://ADDRESS {\nLINE\n}\n",
			[]string{"caddy", "run", "--adapter", "caddyfile", "--config"},
		},
	} {
		t.Run(test.command[0], func(t *testing.T) {
			require.Contains(t, string(text), test.line)
			address, path := "127.0.0.1:"+freePort(t), filepath.Join(t.TempDir(), "config")
			line := strings.ReplaceAll(strings.Trim(test.line, "`"), documented, socket)
			config := strings.NewReplacer("LINE", line, "ADDRESS", address).Replace(test.config)
			require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
			startBalancer(t, address, command(test.command[0], append(test.command[1:], path)...)) // until it answers with 200
		})
	}
	require.NoError(t, server.Process.Signal(os.Interrupt))
	require.NoError(t, server.Wait())
	assert.NoFileExists(t, socket)
}
