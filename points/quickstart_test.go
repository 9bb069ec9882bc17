package points_test

import (
	"context"
	"fmt"
	"log"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

// README.md begins with this.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	store, err := memstore.New(1_000_000)
	if err != nil {
		log.Fatal(err)
	}
	engine, err := points.New(store, points.Config{MinNumber: func() int { return 50 }}) // by default a random one
	if err != nil {
		log.Fatal(err)
	}
	go engine.Run(ctx) // from now on, every minute: a new hidden number, new points for every user

	update, err := engine.Update(ctx) // and new points at once
	if err != nil {
		log.Fatal(err)
	}
	result, err := engine.Query(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(update.Users, "users updated;", len(result.Users), "found; asked before:", !result.Previous.IsZero())
	// Output: 1000000 users updated; 2 found; asked before: false
}
