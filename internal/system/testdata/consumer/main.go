// Command consumer uses the library as a program of another module does.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

func main() {
	store, err := memstore.New(1000)
	if err != nil {
		log.Fatal(err)
	}
	engine, err := points.New(store, points.Config{MinNumber: func() int { return 50 }})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()

	update, err := engine.Update(ctx)
	if err != nil {
		log.Fatal(err)
	}
	result, err := engine.Query(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d users updated; %d have points above the min number\n", update.Users, len(result.Users))
	for _, user := range result.Users {
		if user.Points != points.Draw(user.ID, update.Key) {
			log.Fatalf("user %d has %d points", user.ID, user.Points)
		}
	}

	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}
