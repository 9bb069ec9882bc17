// Command customstore serves users from its own Store, which keeps them in a file.
//
//	go run ./examples/customstore -file /tmp/users
package main

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:4000", "`host:port` to listen on")
	file := flag.String("file", "users.bolt", "the `file` of the users; a new file gets 10,000")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *addr, *file); err != nil {
		slog.Error(err.Error())
		os.Exit(1) //nolint:gocritic // stop is not needed any more
	}
}

func run(ctx context.Context, addr, file string) error {
	ids := make([]int64, 10_000)
	for i := range ids {
		ids[i] = int64(i) + 1
	}
	store, err := openStore(file, ids)
	if err != nil {
		return err
	}
	defer store.close() //nolint:errcheck // all writes are committed
	engine, err := points.New(store, points.Config{UpdateOnStart: true})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := pointshttp.NewServer(pointshttp.NewHandler(engine, pointshttp.Config{}), points.DefaultQueryTimeout, nil)
	go pointshttp.Serve(server, listener) //nolint:errcheck // returns when it is closed
	defer server.Close()                  //nolint:errcheck // the process ends
	return engine.Run(ctx)
}
