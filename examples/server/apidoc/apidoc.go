// Package apidoc serves the description of the reference server's API, openapi.yaml, and Swagger UI to read it and to
// try it out. All of it is embedded: it works without a network.
package apidoc

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/swaggest/swgui/v5/static"
	"github.com/vearutop/statigz"
	"go.yaml.in/yaml/v3"

	"github.com/pointsapp/pointsapp/examples/server/page"
)

// YAML is the description, in OpenAPI 3.1.
//
//go:embed openapi.yaml
var YAML []byte

//go:embed assets
var assets embed.FS

// policy allows the page what Swagger UI needs, of this server alone: it sets styles, and has images in them.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Handlers returns what answers, by path: /openapi.json, /openapi (as the Elixir original had it) and /openapi.yaml
// with the description, /doc with Swagger UI.
func Handlers() (map[string]http.Handler, error) {
	asJSON, err := toJSON(YAML)
	if err != nil {
		return nil, err
	}
	own, err := fs.Sub(assets, "assets")
	if err != nil {
		return nil, err
	}
	describe := bytesOf("application/json", asJSON)
	handlers := map[string]http.Handler{
		"/openapi":      describe,
		"/openapi.json": describe,
		"/openapi.yaml": bytesOf("application/yaml", YAML),
	}
	doc, err := fs.ReadFile(own, "doc.html")
	if err != nil {
		return nil, err
	}
	handlers["/doc"] = bytesOf("text/html; charset=utf-8", doc)
	handlers["/doc/"] = handlers["/doc"]
	ui := http.StripPrefix("/doc", statigz.FileServer(static.FS))
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"} {
		handlers["/doc/"+name] = page.Guarded(policy, ui)
	}
	files := http.StripPrefix("/doc", http.FileServerFS(own))
	for _, name := range []string{"doc.js", "doc.css"} {
		handlers["/doc/"+name] = page.Guarded(policy, files)
	}
	return handlers, nil
}

func toJSON(description []byte) ([]byte, error) {
	var tree any
	if err := yaml.Unmarshal(description, &tree); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return json.MarshalIndent(tree, "", "  ")
}

func bytesOf(contentType string, content []byte) http.Handler {
	return page.Guarded(policy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
}
