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

// An engine on a PostgreSQL table that is created and filled if need be.
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
	fmt.Println(result.Users, result.Previous)
}
