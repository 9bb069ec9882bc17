// Package browser opens pages in Chromium, for tests.
package browser

import (
	"context"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// Start starts a Chromium that reaches nothing but this machine, and returns its context: [chromedp.NewContext] of it
// is a tab. It ends with the test. Without a Chromium the test is skipped; where CI is set, it fails.
func Start(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(find(t)),
		chromedp.NoSandbox,                  // root has none
		chromedp.ProxyServer("127.0.0.1:9")) // nothing listens there; what is on this machine does without a proxy
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	return ctx
}

// find returns the path of a Chromium.
func find(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testenv.SkipOrFail(t, "no Chromium to open a page with: install Debian's package chromium")
	return ""
}
