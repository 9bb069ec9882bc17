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
	"github.com/pointsapp/pointsapp/internal/testenv"
	"github.com/pointsapp/pointsapp/memstore"
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
		assert.NotContains(t, log.String(), "level=WARN msg=\"the interval")
		assert.Equal(t, http.StatusBadRequest, post("/control/interval", `{"interval":"1us"}`).Code)
	})
}

// An interval that is shorter than the latest update took, or than a second, is accepted, and the log warns of it.
func TestShortInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := memstore.New(1)
		require.NoError(t, err)
		for name, store := range map[string]points.Store{"local": memory, "shared": sharedtest.New(nil).Open()} {
			log := new(testenv.Log)
			logger := slog.New(slog.NewTextHandler(log, nil))
			engine, err := points.New(slowStore{store}, points.Config{Logger: logger})
			require.NoError(t, err)
			require.NoError(t, engine.Pause())
			ctx, stop := context.WithCancel(t.Context())
			go engine.Run(ctx) //nolint:errcheck // it ends with the test
			c := &control{token: "token", engine: engine, logger: logger}
			warning := func(interval string) string {
				log.Drain()
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(`{"interval":"`+interval+`"}`))
				w := httptest.NewRecorder()
				c.setInterval(w, r)
				require.Equal(t, http.StatusNoContent, w.Code)
				for line := range strings.Lines(log.String()) {
					if strings.Contains(line, "level=WARN") {
						return line
					}
				}
				return ""
			}
			synctest.Wait()
			assert.Contains(t, warning("900ms"), "interval=900ms latest_update=0s", name)
			assert.Empty(t, warning("1s"), name)
			_, err = engine.Update(t.Context())
			require.NoError(t, err)
			<-time.After(2 * time.Second) // the shared state gets it
			assert.Contains(t, warning("2900ms"), "interval=2.9s latest_update=3s", name)
			assert.Empty(t, warning("3s"), name)
			stop()
			synctest.Wait()
		}
	})
}

// A slowStore takes 3 seconds for an update.
type slowStore struct{ points.Store }

func (slowStore) UpdateAll(context.Context, uint64) (int64, error) {
	<-time.After(3 * time.Second)
	return 1, nil
}
