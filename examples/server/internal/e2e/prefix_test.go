package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// behindPrefix starts a reverse proxy that serves the server under /points/ and nothing else.
func (r *testServer) behindPrefix(t *testing.T) *httptest.Server {
	t.Helper()
	target, err := url.Parse(r.url)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/points/", http.StripPrefix("/points", httputil.NewSingleHostReverseProxy(target)))
	proxy := httptest.NewServer(mux)
	t.Cleanup(proxy.Close)
	t.Cleanup(proxy.CloseClientConnections)
	return proxy
}

// Behind a reverse proxy that serves it under a prefix, /doc loads all of its files, and the description has the URL of
// the server.
func TestDocUnderPrefix(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users = 10
	r := startReady(t, cfg)
	proxy := r.behindPrefix(t)
	get := func(from *url.URL, reference string) (*url.URL, string) {
		t.Helper()
		at, err := from.Parse(reference)
		require.NoError(t, err)
		response, err := proxy.Client().Get(at.String())
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode, at)
		return response.Request.URL, string(body)
	}
	root, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	for _, path := range []string{"/points/doc", "/points/doc/"} {
		doc, html := get(root, path)
		references := regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(html, -1)
		require.NotEmpty(t, references)
		for _, reference := range references {
			get(doc, reference[1])
		}
		_, script := get(doc, "doc/doc.js")
		match := regexp.MustCompile(`url: "([^"]+)"`).FindStringSubmatch(script)
		require.Len(t, match, 2)
		description, text := get(doc, match[1])
		var parsed struct {
			Servers []struct {
				URL string `json:"url"`
			} `json:"servers"`
		}
		require.NoError(t, json.Unmarshal([]byte(text), &parsed))
		require.Len(t, parsed.Servers, 1)
		server, err := description.Parse(parsed.Servers[0].URL)
		require.NoError(t, err)
		_, body := get(server, "readyz")
		assert.Contains(t, body, `"status":"ready"`)
	}
}

// The entity tags of /doc's files are quoted, and answer a conditional request.
func TestDocETags(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users = 10
	r := startReady(t, cfg)
	for _, encoding := range []string{"gzip", "identity"} {
		var tag string
		for _, status := range []int{http.StatusOK, http.StatusNotModified} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/doc/swagger-ui.css", nil)
			require.NoError(t, err)
			request.Header.Set("Accept-Encoding", encoding)
			request.Header.Set("If-None-Match", tag)
			response, err := r.client.Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, status, response.StatusCode, encoding)
			if status == http.StatusOK {
				tag = response.Header.Get("ETag")
				assert.Regexp(t, `^"[^"]+"$`, tag, encoding)
			}
		}
	}
}

// Only pages of the origins that are allowed may read answers, and none may use the controls.
func TestCORS(t *testing.T) {
	t.Parallel()
	const allowed = "https://a.example"
	cfg := config.Defaults()
	cfg.Users, cfg.ControlToken = 10, token
	without := startReady(t, cfg)
	cfg.CORSOrigins = allowed + ",https://b.example"
	with := startReady(t, cfg)
	ask := func(r *testServer, method, path, origin, preflight string) string {
		request, err := http.NewRequestWithContext(t.Context(), method, r.url+path, nil)
		require.NoError(t, err)
		request.Header.Set("Origin", origin)
		if preflight != "" {
			request.Header.Set("Access-Control-Request-Method", preflight)
			request.Header.Set("Access-Control-Request-Headers", "authorization")
		}
		response, err := r.client.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.Header.Get("Access-Control-Allow-Origin")
	}
	assert.Equal(t, allowed, ask(with, http.MethodGet, "/", allowed, ""))
	assert.Equal(t, allowed, ask(with, http.MethodGet, "/readyz", allowed, ""))
	assert.Empty(t, ask(with, http.MethodGet, "/", "https://evil.example", ""))
	assert.Empty(t, ask(with, http.MethodOptions, "/control/update", allowed, http.MethodPost))
	assert.Empty(t, ask(without, http.MethodGet, "/", allowed, ""))
}
