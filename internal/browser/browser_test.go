package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNothingIsLeftBehind(t *testing.T) {
	temp, err := os.MkdirTemp("", "") //nolint:usetesting // the path of t.TempDir is long
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(temp)) })
	long := filepath.Join(temp, strings.Repeat("x", 100))
	require.NoError(t, os.Mkdir(long, 0o700))

	for name, dir := range map[string]string{"long": long, "short": temp} {
		t.Setenv("TMPDIR", dir)
		t.Run(name, func(t *testing.T) {
			ctx, cancel := chromedp.NewContext(Start(t))
			defer cancel()
			sum, err := chromedp.Run(ctx, chromedp.Evaluate[int]("1 + 1"))
			require.NoError(t, err)
			assert.Equal(t, 2, sum)
		})
	}
	left, err := filepath.Glob(filepath.Join(temp, "*", "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
	left, err = filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	assert.Equal(t, []string{long}, left)
}
