package points_test

import (
	"context"
	"fmt"
	"log"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

// The first example of README.md.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	store, err := memstore.New(1_000_000) // or pgstore.New(pool, pgstore.Config{})
	check(err)
	engine, err := points.New(store, points.Config{MinNumber: func() int { return 50 }}) // default: random
	check(err)
	go engine.Run(ctx) // every minute: a new min number, and new points for every user

	update, err := engine.Update(ctx) // give every user new points now
	check(err)
	result, err := engine.Query(ctx) // at most 2 users with more points than the min number
	check(err)
	fmt.Println(update.Users, "updated,", len(result.Users), "found, first query:", result.PreviousTimestamp.IsZero())
	// Output: 1000000 updated, 2 found, first query: true
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
