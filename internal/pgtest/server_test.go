package pgtest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

func TestStartTakesTheURL(t *testing.T) {
	t.Setenv("POINTS_TEST_DATABASE_URL", "postgres://somewhere/")
	server, err := start()
	require.NoError(t, err)
	assert.Equal(t, "postgres://somewhere/", server.url)
	assert.Nil(t, server.remove, "it is not ours")
}

func TestStartFallsBackToTheMachine(t *testing.T) {
	needPrograms(t)
	t.Setenv("POINTS_TEST_DATABASE_URL", "")
	t.Setenv("POINTS_TEST_POSTGRES_IMAGE", "points.invalid/none:1")
	server, err := start()
	require.NoError(t, err)
	assert.Contains(t, server.origin, "none in Docker: docker ")
	require.NoError(t, server.remove())
}

func TestContainer(t *testing.T) {
	if err := haveImage(image()); err != nil {
		testenv.SkipOrFailf(t, "%v", err)
	}
	server, err := startContainer()
	require.NoError(t, err)
	t.Run("does not wait for the disk", func(t *testing.T) {
		assert.Equal(t, "off", query(t, server.url, "SHOW fsync"))
	})
	require.NoError(t, server.remove())
	assert.Error(t, ping(t.Context(), server.url))
}

func TestImageThatCannotBeHad(t *testing.T) {
	t.Setenv("POINTS_TEST_POSTGRES_IMAGE", "points.invalid/none:1")
	_, err := startContainer()
	require.ErrorContains(t, err, "docker ")
	assert.NotContains(t, err.Error(), "\n")
}

func TestNoDocker(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := startContainer()
	assert.ErrorContains(t, err, "docker version: ")
}

// Benchmarks measure PostgreSQL with its default settings.
func TestSettingsOfBenchmarks(t *testing.T) {
	bench := flag.Lookup("test.bench").Value
	before := bench.String()
	t.Cleanup(func() { assert.NoError(t, bench.Set(before)) })
	require.NoError(t, bench.Set("."))
	assert.Empty(t, settings())
	require.NoError(t, bench.Set(""))
	assert.NotEmpty(t, settings())
}

func TestCluster(t *testing.T) {
	needPrograms(t)
	t.Setenv("PGPORT", "1")
	t.Setenv("TMPDIR", publicDir(t))
	server, err := startCluster(installed)
	require.NoError(t, err)
	t.Run("does not wait for the disk", func(t *testing.T) {
		assert.Equal(t, "off", query(t, server.url, "SHOW fsync"))
	})
	t.Run("holds any text", func(t *testing.T) {
		assert.Equal(t, "UTF8", query(t, server.url, "SHOW server_encoding"))
	})
	t.Run("wants a password", func(t *testing.T) {
		config, err := pgx.ParseConfig(server.url)
		require.NoError(t, err)
		config.Password = "another"
		_, err = pgx.ConnectConfig(t.Context(), config)
		assert.ErrorContains(t, err, "password")
	})
	require.NoError(t, server.remove())
	assert.Error(t, ping(t.Context(), server.url))
	assert.Empty(t, files(t, os.TempDir()))
}

// As root, the server runs under another account, which cannot enter a folder that is root's alone.
func TestClusterWhereTMPDIRIsPrivate(t *testing.T) {
	needPrograms(t)
	private := filepath.Join(publicDir(t), "private")
	require.NoError(t, os.MkdirAll(filepath.Join(private, "tmp"), 0o777))
	require.NoError(t, os.Chmod(private, 0o700))
	t.Setenv("TMPDIR", filepath.Join(private, "tmp"))
	server, err := startCluster(installed)
	require.NoError(t, err)
	require.NoError(t, ping(t.Context(), server.url))
	require.NoError(t, server.remove())
	assert.Empty(t, files(t, os.TempDir()))
}

func TestClusterThatDoesNotStart(t *testing.T) {
	for name, scripts := range map[string]map[string]string{
		"initdb fails":     {"initdb": "echo no space left >&2; exit 1"},
		"the server fails": {"initdb": "exit 0", "pg_ctl": "echo no space left >log; exit 1"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := programFolder(t, "17", scripts)
			t.Setenv("TMPDIR", publicDir(t))
			_, err := startCluster(bin)
			require.ErrorContains(t, err, "no space left")
			assert.ErrorContains(t, err, bin)
			assert.Empty(t, files(t, os.TempDir()))
		})
	}
}

func TestProgramsAreTheNewest(t *testing.T) {
	root := publicDir(t)
	for _, version := range []string{"9.6", "17", "15"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, version, "bin"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, version, "bin", "initdb"), nil, 0o755))
	}
	bin, err := programs(filepath.Join(root, "*", "bin"))
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(root, "17", "bin"), bin)
}

func TestProgramsInPath(t *testing.T) {
	bin := programFolder(t, "17", map[string]string{"initdb": "exit 0"})
	path := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(bin, "initdb"), filepath.Join(path, "initdb")))
	t.Setenv("PATH", path)
	found, err := programs("/nowhere/*/bin")
	require.NoError(t, err)
	assert.Equal(t, bin, found)
}

func TestNoPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := programs("/nowhere/*/bin")
	assert.EqualError(t, err, "no initdb in /nowhere/*/bin or PATH")
}

func TestVersion(t *testing.T) {
	for initdb, want := range map[string]float64{
		"/usr/lib/postgresql/17/bin/initdb":  17,
		"/usr/lib/postgresql/9.6/bin/initdb": 9.6,
		"/usr/lib/postgresql/x/bin/initdb":   0,
	} {
		assert.InDelta(t, want, version(initdb), 0, initdb)
	}
}

func TestUnavailable(t *testing.T) {
	for _, c := range []struct{ ci, want string }{
		{"", "skipped"},
		{"false", "skipped"},
		{"true", "failed"},
		{"1", "failed"},
	} {
		t.Setenv("CI", c.ci)
		test := &outcome{TB: t}
		unavailable(test, errors.New("why"))
		assert.Equal(t, c.want+": pgtest: no PostgreSQL to test with: why", test.was, "CI=%q", c.ci)
	}
}

func TestInDatabase(t *testing.T) {
	for connection, want := range map[string]string{
		"postgres://u:p%40@h:1/old?sslmode=disable": "postgres://u:p%40@h:1/new?sslmode=disable",
		"postgresql://h": "postgresql://h/new",
		"postgres:///?dbname=old&host=%2Ftmp&port=1": "postgres:///new?host=%2Ftmp&port=1",
		"host=/tmp port=1 dbname=old":                "host=/tmp port=1 dbname=old dbname=new",
	} {
		got := inDatabase(connection, "new")
		assert.Equal(t, want, got)
		config, err := pgx.ParseConfig(got)
		require.NoError(t, err)
		assert.Equal(t, "new", config.Database)
	}
}

// An outcome is a test that goes on when it is skipped or fails.
type outcome struct {
	testing.TB
	was string
}

func (o *outcome) Skipf(format string, args ...any) {
	o.was = "skipped: " + fmt.Sprintf(format, args...)
}
func (o *outcome) Fatalf(format string, args ...any) {
	o.was = "failed: " + fmt.Sprintf(format, args...)
}

func needPrograms(t *testing.T) {
	t.Helper()
	if _, err := programs(installed); err != nil {
		t.Skip(err)
	}
}

func query(t *testing.T, url, sql string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&answer))
	require.NoError(t, conn.Close(t.Context()))
	return answer
}

// publicDir returns a folder that is open to all, as /tmp is: PostgreSQL's account cannot enter t.TempDir's.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := unprivilegedDir(exec.Command("true"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky))
	return dir
}

// programFolder returns a folder VERSION/bin of shell scripts.
func programFolder(t *testing.T, version string, scripts map[string]string) string {
	t.Helper()
	parent := filepath.Join(publicDir(t), version)
	bin := filepath.Join(parent, "bin")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	for name, script := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		require.NoError(t, os.Chmod(filepath.Join(bin, name), 0o755)) // whatever the umask is
	}
	require.NoError(t, os.Chmod(parent, 0o755))
	require.NoError(t, os.Chmod(bin, 0o755))
	return bin
}

func files(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	return entries
}
