package cli

import (
	"bytes"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProgressShowsProgressOnly has a run whose requests all fail to connect, so that the number never changes.
func TestProgressShowsProgressOnly(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 20_000, false)
	for range 20_000 {
		p.completed(0)
	}
	assert.Empty(t, out.String())
	p.completed(2000)
	p.completed(2000)
	assert.Equal(t, "Completed 2000 requests\n", out.String())
}

// TestBarShowsRealRate completes exactly 10,000 requests per second and checks each rate that is drawn.
func TestBarShowsRealRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{out: &out, step: 100}
		p.showBar(10_000)
		for n := int64(100); n <= 10_000; n += 100 {
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // synctest's clock
			p.completed(n)
		}
		p.finish(10_000)
		rates := regexp.MustCompile(`(\d+) (?:requests)/s`).FindAllStringSubmatch(out.String(), -1)
		require.NotEmpty(t, rates)
		for _, match := range rates {
			rate, err := strconv.Atoi(match[1])
			require.NoError(t, err)
			assert.Equal(t, 10_000, rate)
		}
	})
}
