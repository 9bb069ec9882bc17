package testenv_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// No port is returned twice, although nobody listens on it yet.
func TestFreePort(t *testing.T) {
	t.Parallel()
	ports := make(map[string]bool)
	for range 1_000 {
		port, err := testenv.FreePort()
		require.NoError(t, err)
		assert.False(t, ports[port], port)
		ports[port] = true
	}
}
