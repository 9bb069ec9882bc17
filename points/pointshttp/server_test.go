package pointshttp

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A query that takes its whole timeout is answered before the connection's own timeouts are over, and no client can hold
// up a connection for good.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	for _, queryTimeout := range []time.Duration{time.Millisecond, 5 * time.Second, time.Hour} {
		server := NewServer(http.NotFoundHandler(), queryTimeout, nil)
		assert.Greater(t, server.ReadTimeout, queryTimeout)
		assert.Greater(t, server.WriteTimeout, queryTimeout)
		assert.Positive(t, server.ReadHeaderTimeout)
		assert.Positive(t, server.IdleTimeout)
		assert.Positive(t, server.MaxHeaderBytes)
	}
}
