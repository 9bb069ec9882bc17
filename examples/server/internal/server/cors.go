package server

import (
	"net/http"

	"github.com/rs/cors"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// allowOrigins returns a handler that lets pages of these origins read responses to GET and HEAD. Without origins it is
// next.
func allowOrigins(origins config.Origins, next http.Handler) http.Handler {
	if origins == "" {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins.List(),
		AllowedMethods: []string{http.MethodGet, http.MethodHead},
		ExposedHeaders: []string{"Retry-After"},
	}).Handler(next)
}
