package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/sharedtest"
	"github.com/pointsapp/pointsapp/points"
)

// A control that the database does not answer is answered with 503, and the log says why.
func TestControlWithoutDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		database := sharedtest.New(nil)
		hang := true
		database.At = func(ctx context.Context, _ sharedtest.Position) {
			if hang {
				<-ctx.Done()
			}
		}
		engine, err := points.New(database.Open(), points.Config{QueryTimeout: 3 * time.Second})
		require.NoError(t, err)
		var log strings.Builder
		c := &control{token: "token", engine: engine, logger: slog.New(slog.NewTextHandler(&log, nil))}
		post := func(path, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer token")
			w := httptest.NewRecorder()
			c.handlers()[path].ServeHTTP(w, r)
			return w
		}
		requests := map[string]string{"/control/pause": "", "/control/resume": "", "/control/interval": `{"interval":"1h"}`}
		for path, body := range requests {
			log.Reset()
			begin := time.Now()
			w := post(path, body)
			assert.Equal(t, 3*time.Second, time.Since(begin))
			assert.Equal(t, http.StatusServiceUnavailable, w.Code)
			assert.NotEmpty(t, w.Header().Get("Retry-After"))
			assert.Contains(t, w.Body.String(), "The database does not answer: the change may have been made or not.")
			assert.Contains(t, log.String(), "context deadline exceeded")
		}
		hang = false
		for path, body := range requests {
			assert.Equal(t, http.StatusNoContent, post(path, body).Code)
		}
		assert.Equal(t, time.Hour, engine.State().Interval)
		assert.Equal(t, http.StatusBadRequest, post("/control/interval", `{"interval":"1us"}`).Code)
	})
}
