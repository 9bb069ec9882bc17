package cli

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// TestFilesThatCannotBeWritten tests a disk that is full for some of the files.
func TestFilesThatCannotBeWritten(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		testenv.SkipOrFailf(t, "the test needs a disk that is always full, %s, which Linux has", full)
	}
	server := respond(t, http.StatusOK).URL
	run := filepath.Join(t.TempDir(), "run.json")
	_, errs, code := call(t.Context(), "-q", "-json", run, server)
	require.Equal(t, exitOK, code, errs)
	for name, args := range map[string][]string{
		"run":    {"-q", "-n", "5", "-e", full, "-json", full, "-html", "PAGE", server},
		"search": {"-q", "-find-max", "-slo", "p99<1ns", "-rate", "2", "-duration", "1ms", "-e", full, "-json", full, "-html", "PAGE", server},
		"merge":  {"merge", "-e", full, "-json", full, "-html", "PAGE", run},
	} {
		t.Run(name, func(t *testing.T) {
			page := filepath.Join(t.TempDir(), "page.html")
			for i, arg := range args {
				args[i] = strings.ReplaceAll(arg, "PAGE", page)
			}
			out, errs, code := call(t.Context(), args...)
			assert.Equal(t, exitFailed, code)
			assert.Contains(t, out, "Latency from when a request was", "the report is printed")
			assert.FileExists(t, page)
			failed := "loadtest: cannot write /dev/full: no space left on device\n"
			assert.Equal(t, strings.Repeat(failed, 2), errs)
		})
	}
}

// TestReplacedFile tests names of existing files and of links.
func TestReplacedFile(t *testing.T) {
	server := respond(t, http.StatusOK).URL
	dir := t.TempDir()
	write := func(name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
		return path
	}
	link := func(name, to string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.Symlink(to, path))
		return path
	}
	for name, tt := range map[string]struct {
		output, written string
	}{
		"file":          {output: write("file"), written: "file"},
		"link":          {output: link("link", write("target")), written: "target"},
		"dangling link": {output: link("dangling", "new"), written: "new"},
		"long name":     {output: write(strings.Repeat("x", 250)), written: strings.Repeat("x", 250)}, // the temporary name must not be longer
	} {
		t.Run(name, func(t *testing.T) {
			written := filepath.Join(dir, tt.written)
			before, _ := os.Stat(written) // nil if it does not exist
			_, errs, code := call(t.Context(), "-q", "-json", tt.output, server)
			require.Equal(t, exitOK, code, errs)
			assert.EqualValues(t, 1, readResult(t, written).Counts.Complete)
			after, err := os.Stat(written)
			require.NoError(t, err)
			if before != nil {
				assert.Equal(t, fs.FileMode(0o600), after.Mode())
				assert.False(t, os.SameFile(before, after), "it is replaced by another file")
			}
			info, err := os.Lstat(tt.output)
			require.NoError(t, err)
			assert.Equal(t, strings.HasSuffix(name, "link"), info.Mode()&fs.ModeSymlink != 0)
		})
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestUnreachableLeavesLink tests the name of a link to a file that does not exist, and a run that never starts.
func TestUnreachableLeavesLink(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("new", link))
	_, _, code := call(t.Context(), "-q", "-json", link, server.URL)
	require.Equal(t, exitFailed, code)
	_, err := os.Lstat(link)
	require.NoError(t, err)
	assert.NoFileExists(t, filepath.Join(dir, "new"))
}

// TestOutputIsInput replaces the run to compare with and a run to merge.
func TestOutputIsInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.json")
	server := respond(t, http.StatusOK).URL
	_, errs, code := call(t.Context(), "-q", "-n", "3", "-json", file, server)
	require.Equal(t, exitOK, code, errs)
	out, errs, code := call(t.Context(), "-q", "-n", "6", "-compare", file, "-json", file, server)
	require.Equal(t, exitOK, code, errs)
	assert.Regexp(t, `Complete requests +3 +6 `, out)
	_, errs, code = call(t.Context(), "merge", "-json", file, file)
	require.Equal(t, exitOK, code, errs)
	assert.Equal(t, 1, readResult(t, file).Merged)
}
