package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// Any body either sets a valid interval or gets 400.
func FuzzInterval(f *testing.F) {
	for _, body := range []string{`{"interval":"1m30s"}`, `{"interval":"90000"}`, `{}`, `[`, `{"interval":"1ns"}`, "\xff"} {
		f.Add(body)
	}
	cfg := config.Defaults()
	cfg.Users, cfg.ControlToken = 10, token
	r := startReady(f, cfg)
	f.Fuzz(func(t *testing.T, body string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/control/interval", strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := r.client.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		assert.Contains(t, []int{http.StatusNoContent, http.StatusBadRequest}, response.StatusCode)
		assert.Equal(t, http.StatusOK, r.get(t, "/readyz").status)
	})
}
