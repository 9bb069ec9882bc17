// Command mux mounts the handler of pointshttp at /points/ in a router with other routes: that of net/http or, with
// -chi, chi.
//
//	go run ./examples/mux
//	go run ./examples/mux -chi
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"

	"github.com/go-chi/chi/v5"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:4000", "`host:port` to listen on")
	withChi := flag.Bool("chi", false, "use chi's router")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *addr, *withChi); err != nil {
		slog.Error(err.Error())
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

// standard mounts queries in net/http's router. The handler must get the path / instead of /points/.
func standard(queries http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", home)
	mux.Handle("/points/", http.StripPrefix("/points", queries))
	return mux
}

// withChi does the same in chi's router, which has middleware, and answers /points, too.
func withChi(queries http.Handler) http.Handler {
	router := chi.NewRouter()
	router.Get("/", home)
	router.Mount("/points", http.StripPrefix("/points", queries))
	return router
}

func home(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "Queries are answered at /points/.")
}

func run(ctx context.Context, addr string, chi bool) error {
	store, err := memstore.NewContext(ctx, 1_000_000)
	if err != nil {
		return err
	}
	engine, err := points.New(store, points.Config{UpdateOnStart: true})
	if err != nil {
		return err
	}
	router := standard
	if chi {
		router = withChi
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	handler := router(pointshttp.NewHandler(engine, pointshttp.Config{}))
	server := pointshttp.NewServer(handler, points.DefaultQueryTimeout, nil)
	go pointshttp.Serve(server, listener) //nolint:errcheck // it ends when it is closed
	defer server.Close()                  //nolint:errcheck // the process ends
	return engine.Run(ctx)
}
