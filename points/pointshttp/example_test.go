package pointshttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// A server of 1,000 users in memory.
func Example() {
	store, err := memstore.New(1000)
	if err != nil {
		log.Fatal(err)
	}
	const queryTimeout = 5 * time.Second
	engine, err := points.New(store, points.Config{QueryTimeout: queryTimeout})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := pointshttp.NewServer(pointshttp.NewHandler(engine, pointshttp.Config{}), queryTimeout, nil)
	go pointshttp.Serve(server, listener) //nolint:errcheck // it ends when it is closed
	defer server.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go engine.Run(ctx) //nolint:errcheck // new points and a new min number every minute, until stop

	response, err := http.Get("http://" + listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.Status, string(body))
	// Output: 200 OK {"users":[],"timestamp":null}
}

// In a router of one's own, under a path: the handler is to see / and not /points/.
func ExampleHandler() {
	store, err := memstore.New(1000)
	if err != nil {
		log.Fatal(err)
	}
	engine, err := points.New(store, points.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/points/", http.StripPrefix("/points", pointshttp.NewHandler(engine, pointshttp.Config{})))

	response := httptest.NewRecorder()
	mux.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/points/", nil))
	fmt.Println(response.Code, response.Body)
	// Output: 200 {"users":[],"timestamp":null}
}

// A program that takes a while to start, and leaves the load balancer before it stops.
func ExampleHandler_SetStarting() {
	store, err := memstore.New(1000)
	if err != nil {
		log.Fatal(err)
	}
	engine, err := points.New(store, points.Config{})
	if err != nil {
		log.Fatal(err)
	}
	handler := pointshttp.NewHandler(engine, pointshttp.Config{
		Ping: func(context.Context) error { return nil }, // such as that of a pgxpool.Pool
	})
	handler.SetStarting("seeding the table") // GET / and /readyz: 503
	handler.SetServing()                     // 200
	handler.SetStopping()                    // GET /readyz: 503, GET /: 200
	fmt.Println(handler.Phase())
	// Output: shutting down
}
