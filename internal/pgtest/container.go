package pgtest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

const (
	pullTimeout = 5 * time.Minute
	runTimeout  = 5 * time.Minute // machines are slow and busy
)

// smallDisk is the path of a 16 MB file system in a container, for tests that fill it.
const smallDisk = "/small"

// guardContainer is the guard script of a container. Its commands are docker commands.
const guardContainer = `
echo ready
while read -r command; do
	docker "$command" "$1" >/dev/null && echo ready || echo failed
done
docker rm --force --volumes "$1" >/dev/null
`

// startContainer starts PostgreSQL in Docker, on a port that stays the same over restarts.
func startContainer() (*server, error) {
	image := image()
	if err := haveImage(image); err != nil {
		return nil, err
	}
	server, err := startGuarded(image, func(name string) (string, error) { return runContainer(image, name) })
	if err != nil {
		return nil, err
	}
	server.smallDisk = smallDisk
	return server, nil
}

// startGuarded starts a guard and then the container. run is given the container's name and returns the connection
// string.
func startGuarded(image string, run func(name string) (string, error)) (*server, error) {
	name := "points-test-" + strings.ToLower(rand.Text())
	guard, err := startGuard(guardScript(guardContainer, name))
	if err != nil {
		return nil, err
	}
	url, err := run(name)
	if err != nil {
		return nil, errors.Join(err, guard.end())
	}
	return &server{
		origin: "Docker, image " + image, url: url, container: name,
		command: guard.command, remove: guard.end,
	}, nil
}

func image() string {
	return cmp.Or(os.Getenv("POINTS_TEST_POSTGRES_IMAGE"), "postgres:17")
}

// haveImage pulls the image unless it is there. testcontainers would do so too, but retries for minutes where there is
// no registry.
func haveImage(image string) error {
	ctx, cancel := context.WithTimeout(context.Background(), pullTimeout)
	defer cancel()
	if err := docker(ctx, "version"); err != nil {
		return err
	}
	if docker(ctx, "image", "inspect", image) == nil {
		return nil
	}
	return docker(ctx, "pull", "--quiet", image)
}

// docker runs a docker command. Its error is one line.
func docker(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, "docker", args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Run(); err != nil {
		why := strings.ReplaceAll(strings.TrimSpace(stderr.String()), "\n", "; ")
		return fmt.Errorf("docker %s: %s", strings.Join(args, " "), cmp.Or(why, err.Error()))
	}
	return nil
}

// silence guards the default logger of testcontainers, which tests would race to set.
var silence sync.Once //nolint:gochecknoglobals // as that logger is

// runContainer runs the image and returns the server's connection string.
func runContainer(image, name string) (string, error) {
	// The guard replaces testcontainers' reaper, which is one more image to pull and run.
	if _, set := os.LookupEnv("TESTCONTAINERS_RYUK_DISABLED"); !set {
		if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
			return "", err
		}
	}
	silence.Do(func() { log.SetDefault(log.NewNoopLogger()) }) // what goes wrong is in the error
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	password := rand.Text()
	hostPort, err := testenv.FreePort()
	if err != nil {
		return "", err
	}
	container, err := postgres.Run(ctx, image,
		testcontainers.WithName(name),
		testcontainers.WithCmd(append([]string{"postgres"}, settings()...)...),
		postgres.WithPassword(password),
		testcontainers.WithHostConfigModifier(func(c *dockercontainer.HostConfig) {
			c.ShmSize = 256 << 20 // Docker's default of 64 MB is too little for parallel queries
			c.Tmpfs = map[string]string{smallDisk: "size=16m,mode=0777"}
			c.PortBindings = network.PortMap{network.MustParsePort("5432/tcp"): {{HostPort: hostPort}}}
		}),
		// The server that initialises the cluster logs this too.
		testcontainers.WithWaitStrategyAndDeadline(runTimeout,
			wait.ForLog("database system is ready to accept connections").WithOccurrence(2)),
	)
	if err != nil {
		return "", err
	}
	host, err := container.Host(ctx)
	if err != nil {
		return "", err
	}
	urls := []string{connectionString(password, "127.0.0.1", hostPort), connectionString(password, host, hostPort)}
	if benchmarksRun() {
		address, err := container.ContainerIP(ctx)
		if err != nil {
			return "", err
		}
		// Docker's proxy of published ports takes half as much CPU time as PostgreSQL does for a short query.
		urls = slices.Insert(urls, 0, connectionString(password, address, "5432"))
	}
	return firstToAnswer(ctx, urls...)
}

// firstToAnswer returns the first connection string at which a server answers. testcontainers finds the wrong host
// where there is a file /.dockerenv; the loopback address is wrong inside a container.
func firstToAnswer(ctx context.Context, urls ...string) (string, error) {
	for {
		var errs error
		for _, url := range urls {
			err := ping(ctx, url)
			if err == nil {
				return url, nil
			}
			errs = errors.Join(errs, err)
		}
		select {
		case <-ctx.Done(): // Docker Desktop forwards a port a moment after the server listens
			return "", errs
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func ping(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
