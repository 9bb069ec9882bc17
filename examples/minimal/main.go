// Command minimal answers queries about a million users in memory, at http://127.0.0.1:4000/.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:4000", "`host:port` to listen on")
	flag.Parse()
	store, err := memstore.New(1_000_000)
	if err != nil {
		log.Fatal(err)
	}
	engine, err := points.New(store, points.Config{UpdateOnStart: true})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(engine.Run(context.Background())) }()

	server := http.Server{Addr: *addr, ReadHeaderTimeout: 5 * time.Second}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if result, err := engine.Query(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		} else {
			response := map[string]any{"users": result.Users, "timestamp": nil} // null for the first query
			if !result.PreviousTimestamp.IsZero() {
				response["timestamp"] = result.PreviousTimestamp
			}
			json.NewEncoder(w).Encode(response) //nolint:errcheck,errchkjson // the client is gone
		}
	})
	log.Fatal(server.ListenAndServe())
}
