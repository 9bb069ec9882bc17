package pgstore_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// An engine on a PostgreSQL table that is created and filled if necessary.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	store, err := pgstore.New(pool, pgstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	if err := store.Seed(ctx, 1_000_000); err != nil {
		log.Fatal(err)
	}

	engine, err := points.New(store, points.Config{UpdateOnStart: true})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(engine.Run(ctx)) }()

	result, err := engine.Query(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Users, result.PreviousTimestamp)
}

// New checks its configuration and does not connect.
func ExampleNew() {
	pool, err := pgxpool.New(context.Background(), "postgres://127.0.0.1/points?pool_max_conns=10")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	_, err = pgstore.New(pool, pgstore.Config{Workers: -1})
	fmt.Println(err)
	_, err = pgstore.New(pool, pgstore.Config{Workers: 9})
	fmt.Println(err)
	_, err = pgstore.New(pool, pgstore.Config{Schema: "app", Table: "members", Workers: 4})
	fmt.Println(err)
	// Output:
	// pgstore: Config.Workers must be at least 1, got -1
	// pgstore: the pool must allow at least Config.Workers + 2 = 11 connections, got 10: set pool_max_conns=11 or fewer Workers
	// <nil>
}
