package app

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A query that takes all of its time is answered before the connection's own times are over, and no client can hold one
// up for ever.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	for _, queryTimeout := range []time.Duration{time.Millisecond, 5 * time.Second, time.Hour} {
		server := NewHTTPServer(http.NotFoundHandler(), queryTimeout, slog.New(slog.DiscardHandler))
		assert.Greater(t, server.ReadTimeout, queryTimeout)
		assert.Greater(t, server.WriteTimeout, queryTimeout)
		assert.Positive(t, server.ReadHeaderTimeout)
		assert.Positive(t, server.IdleTimeout)
		assert.Positive(t, server.MaxHeaderBytes)
	}
}
