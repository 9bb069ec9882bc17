package system

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestDeploymentFiles checks the files of docs/deploy.md with the programs that read them.
func TestDeploymentFiles(t *testing.T) {
	needFlag(t)
	// Names that only exist where the files are used.
	addresses := []string{" server:4000", " 127.0.0.1:4001", " server2:4000", " 127.0.0.1:4002", " server3:4000", " 127.0.0.1:4003"}
	unit := []string{"/usr/local/bin/points-server", "/bin/true", "/etc/points.env", "/dev/null"}
	for _, test := range []struct {
		file    string
		replace []string
		command []string // the file's path follows
	}{
		{"cluster/haproxy.cfg", addresses, []string{"haproxy", "-c", "-f"}},
		{"cluster/nginx.conf", addresses, []string{"nginx", "-t", "-e", "stderr", "-g", "pid /dev/null;", "-c"}},
		{"cluster/Caddyfile", addresses, []string{"caddy", "validate", "--adapter", "caddyfile", "--config"}},
		{"deploy/points.service", unit, []string{"systemd-analyze", "verify", "--man=no"}},
		{"deploy/points.socket", nil, []string{"systemd-analyze", "verify", "--man=no", copyWith(t, "deploy/points.service", unit...)}},
	} {
		t.Run(test.file, func(t *testing.T) {
			need(t, test.command[0])
			path := copyWith(t, test.file, test.replace...)
			output, err := command(test.command[0], append(test.command[1:], path)...).CombinedOutput()
			require.NoError(t, err, "%s", output)
			assert.NotContains(t, string(output), "Unknown", "systemd-analyze only warns")
		})
	}
	t.Run("Unix socket", testUnixSocket)
}

// copyWith writes a copy of a file of examples/server with replacements, in pairs of old and new, and returns its path.
func copyWith(t *testing.T, file string, replacements ...string) (path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "examples/server", file))
	require.NoError(t, err)
	for i := 0; i < len(replacements); i += 2 {
		require.Contains(t, string(text), replacements[i])
	}
	path = filepath.Join(t.TempDir(), filepath.Base(file))
	require.NoError(t, os.WriteFile(path, []byte(strings.NewReplacer(replacements...).Replace(string(text))), 0o600))
	return path
}

// A deployment is what the test needs of a Deployment of Kubernetes.
type deployment struct {
	Kind string `yaml:"kind"`
	Spec struct {
		Template struct {
			Spec struct {
				GraceSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers   []struct {
					Env []struct {
						Name  string `yaml:"name"`
						Value string `yaml:"value"`
					} `yaml:"env"`
					Liveness  probe `yaml:"livenessProbe"`
					Readiness probe `yaml:"readinessProbe"`
				} `yaml:"containers"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
	} `yaml:"httpGet"`
}

// TestKubernetesSettings starts a server with the settings of kubernetes.yaml: they exist, the server answers its probes,
// and it ends before it would be killed.
func TestKubernetesSettings(t *testing.T) {
	needFlag(t)
	text, err := os.ReadFile(filepath.Join(root, "examples/server/deploy/kubernetes.yaml"))
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var d deployment
	require.NoError(t, decoder.Decode(&d))
	require.Equal(t, "Deployment", d.Kind)
	require.Len(t, d.Spec.Template.Spec.Containers, 1)
	container := d.Spec.Template.Spec.Containers[0]

	program := build(t, "examples/server")
	known := output(t, command(program, "-print-config"))
	settings := make(map[string]string)
	args := []string{"-users=10"}
	for _, e := range container.Env {
		settings[e.Name] = e.Value
		if e.Name == "GOMEMLIMIT" { // it is Go's
			continue
		}
		assert.Contains(t, "\n"+known+"\n", "\n"+e.Name+"=", "a setting of the server")
		if e.Value != "" {
			args = append(args, "-"+strings.ToLower(strings.ReplaceAll(e.Name, "_", "-"))+"="+e.Value)
		}
	}
	timeout, err := time.ParseDuration(settings["SHUTDOWN_TIMEOUT"])
	require.NoError(t, err)
	assert.Less(t, timeout, time.Duration(d.Spec.Template.Spec.GraceSeconds)*time.Second)

	s := startServer(t, program, "GOMEMLIMIT="+settings["GOMEMLIMIT"], args...)
	for _, p := range []probe{container.Liveness, container.Readiness} {
		_, err := get(s.url + strings.TrimPrefix(p.HTTPGet.Path, "/"))
		require.NoError(t, err)
	}
	s.stop()
}
