package points_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// roster is a whole Store: a few users under one lock.
type roster struct {
	mu    sync.Mutex
	users []points.User
}

func (r *roster) UsersAbove(_ context.Context, minimum, limit int) ([]points.User, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := []points.User{}
	for _, u := range r.users {
		if u.Points > minimum && len(found) < limit {
			found = append(found, u)
		}
	}
	return found, nil
}

func (r *roster) Capabilities() points.Capabilities { return points.Capabilities{} }

func (r *roster) UpdateAll(_ context.Context, key uint64) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.users {
		r.users[i].Points = points.Draw(r.users[i].ID, key)
		r.users[i].UpdatedAt = time.Now().UTC()
	}
	return int64(len(r.users)), nil
}

// A Store has three methods. Package storetest tells whether they do all that an engine relies on.
func ExampleStore() {
	var store points.Store = &roster{users: []points.User{{ID: 1, Points: 10}, {ID: 2, Points: 60}, {ID: 3, Points: 90}}}

	users, err := store.UsersAbove(context.Background(), 60, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, u := range users {
		fmt.Printf("user %d has %d points\n", u.ID, u.Points)
	}
	// Output:
	// user 3 has 90 points
}

// An engine answers queries from the moment it is made; while Run runs, every user gets new points at each tick.
func ExampleEngine() {
	store := &roster{users: []points.User{{ID: 1, Points: 10}, {ID: 2, Points: 60}, {ID: 3, Points: 90}}}
	engine, err := points.New(store, points.Config{
		Interval:  time.Minute,
		MinNumber: func() int { return 50 }, // leave it out, and nobody knows it
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stopped := make(chan error)
	go func() { stopped <- engine.Run(ctx) }()

	for range 2 {
		result, err := engine.Query(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, u := range result.Users {
			fmt.Printf("user %d has %d points\n", u.ID, u.Points)
		}
		fmt.Println("there was a query before:", !result.Previous.IsZero())
	}

	cancel()
	fmt.Println(<-stopped)
	// Output:
	// user 2 has 60 points
	// user 3 has 90 points
	// there was a query before: false
	// user 2 has 60 points
	// user 3 has 90 points
	// there was a query before: true
	// <nil>
}

// The ticks can be stopped, resumed and set to another interval at any time, and an update can be made between them.
func ExampleEngine_Update() {
	store := &roster{users: []points.User{{ID: 1}, {ID: 2}, {ID: 3}}}
	engine, err := points.New(store, points.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	engine.Pause()
	fmt.Println(engine.SetInterval(time.Second))
	info, err := engine.Update(context.Background())
	fmt.Println(info.Users, err)
	engine.Resume()
	fmt.Println(engine.State().Interval, engine.SetInterval(0))
	// Output:
	// <nil>
	// 3 <nil>
	// 1s points: the interval must be at least 1ms, got 0s
}

// An update can be verified user by user: its key determines the points of each.
func ExampleUpdateInfo() {
	store := &roster{users: []points.User{{ID: 1}, {ID: 2}, {ID: 3}}}
	engine, err := points.New(store, points.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := engine.Update(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("users updated:", info.Users)
	for _, u := range store.users {
		fmt.Println(u.ID, u.Points == points.Draw(u.ID, info.Key))
	}
	// Output:
	// users updated: 3
	// 1 true
	// 2 true
	// 3 true
}

func ExampleDraw() {
	for id := range int64(5) {
		fmt.Print(points.Draw(id, 7), " ")
	}
	// Output: 31 100 25 71 79
}

// For many users, what depends on the key alone is computed once.
func ExampleNewGenerator() {
	generator := points.NewGenerator(7)
	fmt.Println(generator.Points(1) == points.Draw(1, 7))
	// Output: true
}
