package system

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const maxImageSize = 30_000_000

// TestCompose starts the containers of docker-compose.yml as users do, but as a project of its own on a free port. It
// then starts the server's image alone.
func TestCompose(t *testing.T) {
	needFlag(t)
	need(t, "docker", "haproxy")
	p := newProject(t)
	p.compose("--profile", "observability", "--profile", "cluster", "config", "--quiet")
	p.compose("build")
	p.compose("up", "--detach")
	postgres, server := p.container("postgres"), p.container("server")
	awaitHealthy(t, postgres)
	awaitHealthy(t, server)

	image := inspect(t, server, "{{.Image}}")
	size, err := strconv.Atoi(output(t, docker("image", "inspect", "--format", "{{.Size}}", image)))
	require.NoError(t, err)
	t.Logf("the image has %d bytes: %s", size, output(t, docker("exec", server, "/server", "-version")))
	assert.Less(t, size, maxImageSize)
	processes := strings.Fields(output(t, docker("top", server, "-eo", "pid,uid")))
	assert.Equal(t, "65532", processes[len(processes)-1], "the server's user")

	answer, err := get("http://127.0.0.1:" + p.port + "/")
	require.NoError(t, err)
	assert.Regexp(t, `^\{"users":\[.*\],"timestamp":`, answer)
	t.Log(answer)
	const missed = "SELECT 1000000 - count(*) FROM users WHERE updated_at > inserted_at"
	eventually(t, func() bool {
		n, err := try(docker("exec", postgres, "psql", "-U", "points", "-At", "-c", missed))
		return err == nil && n == "0"
	}, "the first update has not reached all users")

	testImage(t, image)
	testCluster(t, p)

	p.compose("stop", "server")
	assert.Equal(t, "0", inspect(t, server, "{{.State.ExitCode}}"), "the exit code of the stopped server")
	var stdout, stderr strings.Builder
	logs := docker("logs", server)
	logs.Stdout, logs.Stderr = &stdout, &stderr
	require.NoError(t, logs.Run())
	assert.Empty(t, stdout.String())
	assert.Regexp(t, `(?m)msg=stopped$`, stderr.String())
}

// testCluster adds the profile "cluster", and stops the first server: the others answer in its order.
func testCluster(t *testing.T, p *project) {
	t.Helper()
	p.compose("--profile", "cluster", "up", "--detach")
	for _, service := range []string{"server2", "server3"} {
		awaitHealthy(t, p.container(service))
	}
	haproxy := p.container("haproxy")
	url := "http://127.0.0.1:" + p.haproxyPort + "/"
	// HAProxy reports a server when its state changes. At the start it has no address for a server that does not run yet.
	changes := regexp.MustCompile(`servers/server[23]\b.* is (UP|DOWN)|servers/server[23]\b.*(could not resolve)`)
	eventually(t, func() bool {
		messages, err := docker("logs", haproxy).CombinedOutput()
		if _, failed := get(url); err != nil || failed != nil {
			return false
		}
		up := map[string]bool{}
		for _, change := range changes.FindAllStringSubmatch(string(messages), -1) {
			up[change[0][:len("servers/server2")]] = change[1] == "UP"
		}
		for _, isUp := range up {
			if !isUp {
				return false
			}
		}
		return true
	}, "HAProxy does not answer, or does not see all servers")
	timestamp := regexp.MustCompile(`"timestamp":"([^"]+)"`)
	query := func() string {
		answer, err := get(url)
		require.NoError(t, err)
		match := timestamp.FindStringSubmatch(answer)
		require.NotNil(t, match, answer)
		return match[1]
	}
	before := query()
	p.compose("stop", "server")
	for range 10 {
		next := query()
		assert.Greater(t, next, before)
		before = next
	}
	p.compose("start", "server")
	awaitHealthy(t, p.container("server"))
}

// testImage starts the server's image alone, in memory, with the settings that it prints.
func testImage(t *testing.T, image string) {
	t.Helper()
	settings := filepath.Join(t.TempDir(), "settings")
	text := output(t, docker("run", "--rm", image, "-print-config"))
	require.NoError(t, os.WriteFile(settings, []byte(text+"\n"), 0o600))
	container := output(t, docker("run", "--detach", "--publish", "127.0.0.1::4000", "--env-file", settings, image))
	cleanDocker(t, "rm", "--force", "--volumes", container)
	awaitHealthy(t, container)
	_, err := get("http://" + output(t, docker("port", container, "4000/tcp")) + "/")
	require.NoError(t, err)
}

// A project is one of Docker Compose.
type project struct {
	t       *testing.T
	command []string // docker compose or docker-compose, with options
	env     []string
	port    string // of the server

	haproxyPort string
}

// newProject returns the project of docker-compose.yml, whose containers, volumes and images are removed at the end of
// the test.
func newProject(t *testing.T) *project {
	t.Helper()
	name := "points-ci-" + strings.ToLower(rand.Text())
	env := filepath.Join(t.TempDir(), "env")
	p := &project{t: t, command: []string{"docker", "compose"}, env: os.Environ(), port: freePort(t), haproxyPort: freePort(t)}
	if _, err := try(docker("compose", "version")); err != nil {
		need(t, "docker-compose")
		p.command = []string{"docker-compose"}
	}
	p.command = append(p.command, "--project-name", name, "--env-file", env)
	cleanDocker(t, "image", "prune", "--force", "--filter", "label="+name)
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", name).Run() }) // an error says that there is none
	image := output(t, command("./.ci/golang-image", name))
	if image == name { // BuildKit would look for it in a registry
		p.env = append(p.env, "DOCKER_BUILDKIT=0")
	}
	haproxy := name + "-haproxy"
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", haproxy).Run() })
	haproxy = output(t, command("./.ci/haproxy-image", haproxy))
	settings, err := os.ReadFile(filepath.Join(root, ".env.example"))
	require.NoError(t, err)
	// The password holds characters that have a meaning in URLs.
	settings = append(settings, "\nGO_IMAGE="+image+"\nPORT="+p.port+"\nHAPROXY_IMAGE="+haproxy+
		"\nHAPROXY_PORT="+p.haproxyPort+"\nDRAIN_DELAY=1s\nPOSTGRES_PASSWORD=c@i/?:%41\n"...)
	require.NoError(t, os.WriteFile(env, settings, 0o600))
	t.Cleanup(func() {
		down := exec.Command(p.command[0], append(p.command[1:], "--profile", "cluster", "down", "--volumes", "--rmi", "local")...)
		down.Dir, down.Env = root, p.env
		_, err := try(down)
		assert.NoError(t, err)
	})
	return p
}

func (p *project) compose(args ...string) (text string) {
	p.t.Helper()
	cmd := command(p.command[0], append(p.command[1:len(p.command):len(p.command)], args...)...)
	cmd.Env = p.env
	return output(p.t, cmd)
}

// container returns the id of a service's container.
func (p *project) container(service string) string {
	p.t.Helper()
	return p.compose("ps", "--quiet", service)
}

func awaitHealthy(t *testing.T, container string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			text, err := docker("logs", container).CombinedOutput()
			t.Logf("the log of container %s (%v):\n%s", container, err, text)
		}
	})
	eventually(t, func() bool {
		health, err := try(docker("inspect", "--format", "{{.State.Health.Status}}", container))
		return err == nil && health == "healthy"
	}, "the container %s does not get healthy", container)
}

func inspect(t *testing.T, container, format string) string {
	t.Helper()
	return output(t, docker("inspect", "--format", format, container))
}
