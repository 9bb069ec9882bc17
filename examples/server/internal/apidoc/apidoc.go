// Package apidoc serves the OpenAPI description of the reference server, and Swagger UI. Both are embedded and work
// without internet access.
package apidoc

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/swaggest/swgui/v5/static"
	"github.com/vearutop/statigz"
	"go.yaml.in/yaml/v3"

	"github.com/pointsapp/pointsapp/examples/server/internal/page"
	"github.com/pointsapp/pointsapp/examples/server/internal/version"
)

// YAML is the OpenAPI 3.1 description. Its version is [version.Devel], which Handlers replaces.
//
//go:embed openapi.yaml
var YAML []byte

//go:embed assets
var assets embed.FS

// policy is the pages' Content-Security-Policy: everything comes from this server. Swagger UI needs inline styles and
// images in data URLs.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Handlers returns the handlers by path: /openapi.json, /openapi (the original's path) and /openapi.yaml with the
// description, and /doc with Swagger UI. The version in the description is that of the program's main module.
func Handlers() (map[string]http.Handler, error) {
	description := withVersion(YAML, version.Module())
	asJSON, err := toJSON(description)
	if err != nil {
		return nil, err
	}
	own, err := fs.Sub(assets, "assets")
	if err != nil {
		return nil, err
	}
	jsonHandler := content("application/json", asJSON)
	handlers := map[string]http.Handler{
		"/openapi":      jsonHandler,
		"/openapi.json": jsonHandler,
		"/openapi.yaml": content("application/yaml", description),
	}
	doc, err := fs.ReadFile(own, "doc.html")
	if err != nil {
		return nil, err
	}
	handlers["/doc"] = content("text/html; charset=utf-8", doc)
	handlers["/doc/"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "../doc") // http.Redirect would make it absolute, without the prefix of a proxy
		w.WriteHeader(http.StatusPermanentRedirect)
	})
	ui := http.StripPrefix("/doc", quoteETags(statigz.FileServer(static.FS)))
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"} {
		handlers["/doc/"+name] = page.Secure(policy, ui)
	}
	files := http.StripPrefix("/doc", http.FileServerFS(own))
	for _, name := range []string{"doc.js", "doc.css"} {
		handlers["/doc/"+name] = page.Secure(policy, files)
	}
	return handlers, nil
}

// quoteETags returns a handler that quotes the entity tags of next: those of statigz lack the quotes.
func quoteETags(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tag := r.Header.Get("If-None-Match"); tag != "" {
			r.Header.Set("If-None-Match", strings.Trim(strings.TrimPrefix(tag, "W/"), `"`))
		}
		next.ServeHTTP(&etagWriter{ResponseWriter: w}, r)
	})
}

// An etagWriter is a ResponseWriter that quotes the entity tag.
type etagWriter struct {
	http.ResponseWriter

	wroteHeader bool
}

func (w *etagWriter) WriteHeader(status int) {
	w.wroteHeader = true
	if tag := w.Header().Get("ETag"); tag != "" {
		w.Header().Set("ETag", `"`+tag+`"`)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *etagWriter) Write(body []byte) (int, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(body)
}

// Unwrap is for http.ResponseController.
func (w *etagWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// withVersion returns a description with a version instead of the placeholder.
func withVersion(description []byte, to string) []byte {
	return bytes.Replace(description, []byte("\n  version: "+version.Devel+"\n"), []byte("\n  version: "+to+"\n"), 1)
}

func toJSON(description []byte) ([]byte, error) {
	var tree any
	if err := yaml.Unmarshal(description, &tree); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return json.MarshalIndent(tree, "", "  ")
}

func content(contentType string, body []byte) http.Handler {
	return page.Secure(policy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}))
}
