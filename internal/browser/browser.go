// Package browser opens pages in Chromium, for tests.
package browser

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// Start prepares a Chromium that reaches this machine alone and returns its context. The first [chromedp.NewContext] of
// it starts the browser; each is a tab. The browser ends with the test. Without Chromium the test is skipped, or fails
// where CI is set.
func Start(t *testing.T) context.Context {
	t.Helper()
	path := find(t)
	temp := tempDir(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Env("TMPDIR="+temp),
		chromedp.NoSandbox,                  // root has none
		chromedp.ProxyServer("127.0.0.1:9")) // nothing listens there; what is on this machine does without a proxy
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel) // it waits until Chromium has ended
	return ctx
}

// tempDir returns a folder for Chromium's temporary files, some of which it leaves behind. It is removed at the end of
// the test.
func tempDir(t *testing.T) string {
	t.Helper()
	parent := os.TempDir()
	if len(parent) > 40 { // the path of Chromium's socket, 68 bytes longer, would not fit into the 108 of an address
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "chromium-") //nolint:usetesting // the path of t.TempDir holds the test's name
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// find returns the path of a Chromium.
func find(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testenv.SkipOrFailf(t, "no Chromium to open a page with: install Debian's package chromium")
	return ""
}
