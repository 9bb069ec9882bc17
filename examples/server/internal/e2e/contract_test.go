package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/apidoc"
	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// description is the API's description, read once: it never changes.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(apidoc.YAML)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background(), openapi3.EnableExamplesValidation())
})

// conforms returns nil if an answer is as described. An answer that is not described must be 404 or 405. The pages and
// the description itself are not described.
func conforms(method, target string, a answer) error {
	doc, err := description()
	if err != nil {
		return err
	}
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	if slices.ContainsFunc([]string{"/doc", "/openapi", "/dashboard"}, func(prefix string) bool {
		return strings.HasPrefix(u.Path, prefix)
	}) {
		return nil
	}
	path := u.Path
	if path == "" {
		path = "/"
	}
	item := doc.Paths.Value(path)
	if item == nil || a.status == http.StatusNotFound {
		return expect(a, http.StatusNotFound)
	}
	asGet := method
	if method == http.MethodHead && item.Get != nil {
		asGet = http.MethodGet
	}
	operation := item.Operations()[asGet]
	if operation == nil {
		return expect(a, http.StatusMethodNotAllowed)
	}
	request, err := http.NewRequest(asGet, target, nil)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: request,
			Route:   &routers.Route{Spec: doc, Path: path, PathItem: item, Method: asGet, Operation: operation},
		},
		Status: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: method == http.MethodHead},
	})
}

func expect(a answer, status int) error {
	if a.status != status {
		return fmt.Errorf("status %d, and not %d", a.status, status)
	}
	return nil
}

// conforms finds violations: each of these answers has one.
func TestConforms(t *testing.T) {
	t.Parallel()
	header := func(contentType string) http.Header {
		return http.Header{
			"Content-Type": {contentType}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"},
		}
	}
	const good = `{"users":[],"timestamp":null}`
	require.NoError(t, conforms(http.MethodGet, "/", answer{200, header("application/json"), []byte(good)}))
	require.NoError(t, conforms(http.MethodGet, "/nowhere", answer{404, nil, nil}))
	for name, a := range map[string]answer{
		"status":         {418, header("application/json"), []byte(good)},
		"type":           {200, header("text/plain"), []byte(good)},
		"header":         {200, http.Header{"Content-Type": {"application/json"}}, []byte(good)},
		"no retry":       {503, header("application/problem+json"), []byte(`{"type":"about:blank","title":"","status":503,"detail":""}`)},
		"missing":        {200, header("application/json"), []byte(`{"users":[]}`)},
		"additional":     {200, header("application/json"), []byte(`{"users":[],"timestamp":null,"number":50}`)},
		"form of a time": {200, header("application/json"), []byte(`{"users":[],"timestamp":"2026-01-01T10:00:00Z"}`)},
		"points":         {200, header("application/json"), []byte(`{"users":[{"id":1,"points":0,"inserted_at":"2026-01-01T10:00:00.000000Z","updated_at":"2026-01-01T10:00:00.000000Z"}],"timestamp":null}`)},
		"not in it":      {204, nil, nil},
	} {
		assert.Error(t, conforms(http.MethodGet, "/", a), name)
	}
	require.Error(t, conforms(http.MethodGet, "/nowhere", answer{200, header("application/json"), []byte(good)}))
	require.Error(t, conforms(http.MethodPost, "/", answer{200, header("application/json"), []byte(good)}))
}

// The server serves the description as JSON and as YAML, and the description has each of its paths.
func TestDescription(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.ControlToken = 1000, token
	r := startReady(t, cfg)
	doc, err := description()
	require.NoError(t, err)
	want, err := json.Marshal(doc)
	require.NoError(t, err)
	for _, path := range []string{"/openapi", "/openapi.json", "/openapi.yaml"} {
		a := r.get(t, path)
		require.Equal(t, http.StatusOK, a.status)
		served, err := openapi3.NewLoader().LoadFromData(a.body)
		require.NoError(t, err)
		got, err := json.Marshal(served)
		require.NoError(t, err)
		assert.JSONEq(t, string(want), string(got))
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			a, err := r.do(method, path)
			require.NoError(t, err)
			assert.NotEqual(t, http.StatusNotFound, a.status, path)
			assert.NotEqual(t, http.StatusMethodNotAllowed, a.status, path)
		}
	}
	for _, path := range []string{"/doc", "/doc/", "/doc/doc.js", "/doc/doc.css", "/doc/swagger-ui.css", "/doc/swagger-ui-bundle.js"} {
		a := r.get(t, path)
		assert.Equal(t, http.StatusOK, a.status, path)
		assert.NotEmpty(t, a.body)
		assert.Contains(t, a.header.Get("Content-Security-Policy"), "default-src 'none'")
		assert.NotContains(t, a.header.Get("Content-Security-Policy"), "script-src 'self' 'unsafe-inline'")
		a, err := r.do(http.MethodPost, path)
		require.NoError(t, err)
		assert.Equal(t, http.StatusMethodNotAllowed, a.status, path)
	}
}
