package pointshttp

import (
	"log/slog"
	"net/http"
	"time"
)

// NewServer returns a server for a handler that answers within queryTimeout, such as a [Handler] whose engine has that
// QueryTimeout. Its timeouts bound every part of a request, so that no client can occupy a connection for long: 5
// seconds for the headers, queryTimeout plus 10 seconds for the whole request, 5 seconds more for the response, 2
// minutes between two requests. Messages of net/http are logged as warnings to logger; nil means slog.Default().
func NewServer(handler http.Handler, queryTimeout time.Duration, logger *slog.Logger) *http.Server {
	const margin, responseMargin = 10 * time.Second, 5 * time.Second
	if logger == nil {
		logger = slog.Default()
	}
	return &http.Server{
		Handler: handler,
		// "OPTIONS *" is for the handler, too.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            5 * time.Second,
		// Both run while the query does, and a request whose body does not arrive is answered after ReadTimeout.
		ReadTimeout:    queryTimeout + margin,
		WriteTimeout:   queryTimeout + margin + responseMargin,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}
