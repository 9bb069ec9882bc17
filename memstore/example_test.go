package memstore_test

import (
	"context"
	"fmt"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

func Example() {
	ctx := context.Background()
	store, err := memstore.New(1000)
	if err != nil {
		fmt.Println(err)
		return
	}
	updated, err := store.UpdateAll(ctx, 42)
	if err != nil {
		fmt.Println(err)
		return
	}
	users, err := store.UsersAbove(ctx, 99, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(updated, "users updated;", users[0].ID, "has", users[0].Points, "points:", points.Draw(users[0].ID, 42))
	// Output: 1000 users updated; 9 has 100 points: 100
}

func ExampleFromIDs() {
	_, err := memstore.FromIDs([]int64{7, -7, 1 << 40, 7})
	fmt.Println(err)
	// Output: memstore: ids must be unique, got 7 twice
}
