package points_test

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

//go:embed testdata/draws.txt
var draws string

func TestDrawEqualsPostgreSQL(t *testing.T) {
	n := 0
	for line := range strings.Lines(draws) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var key, id int64
		var want int
		_, err := fmt.Sscanf(line, "%d|%d|%d", &key, &id, &want)
		require.NoError(t, err, line)
		assert.Equal(t, want, points.Draw(id, uint64(key)), "id %d, key %d", id, key)
		n++
	}
	assert.Equal(t, 77, n)
}

// The draws of a million ids under one key, and of one id under a million keys, are uniform: chi-square with 100
// degrees of freedom is below 161.3 with a probability of 0.9999 (NIST/SEMATECH e-Handbook, 1.3.6.7.4, extended).
func TestDrawIsUniform(t *testing.T) {
	const n, critical = 1_000_000, 161.3
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func(i int) int{
		"over ids":  func(i int) int { return points.Draw(int64(i), 7) },
		"over keys": func(i int) int { return points.Draw(7, uint64(i)) },
		"over both": func(int) int { return points.Draw(random.Int64(), random.Uint64()) },
	} {
		t.Run(name, func(t *testing.T) {
			var counts [points.MaxPoints + 1]float64
			for i := range n {
				counts[draw(i)]++
			}
			const expected = n / float64(len(counts))
			chi2 := 0.0
			for _, observed := range counts {
				chi2 += (observed - expected) * (observed - expected) / expected
			}
			assert.Less(t, chi2, critical)
		})
	}
}
