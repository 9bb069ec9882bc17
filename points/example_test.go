package points_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

// A roster is a complete Store: a few users behind a lock.
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

// A Store has three methods. Package storetest tests them.
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

// An engine answers queries at once. While Run is running, each tick gives every user new points.
func ExampleEngine() {
	store := &roster{users: []points.User{{ID: 1, Points: 10}, {ID: 2, Points: 60}, {ID: 3, Points: 90}}}
	engine, err := points.New(store, points.Config{
		Interval:  time.Minute,
		MinNumber: func() int { return 50 }, // random by default
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
		fmt.Println("first query:", result.PreviousTimestamp.IsZero())
	}

	cancel()
	fmt.Println(<-stopped)
	// Output:
	// user 2 has 60 points
	// user 3 has 90 points
	// first query: true
	// user 2 has 60 points
	// user 3 has 90 points
	// first query: false
	// <nil>
}

// Ticks can be paused, resumed and given another interval at any time, and an update can run between them.
func ExampleEngine_Update() {
	store := &roster{users: []points.User{{ID: 1}, {ID: 2}, {ID: 3}}}
	engine, err := points.New(store, points.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(engine.Pause(), engine.SetInterval(time.Second))
	info, err := engine.Update(context.Background())
	fmt.Println(info.Users, err)
	fmt.Println(engine.Resume(), engine.State().Interval)
	// Output:
	// <nil> <nil>
	// 3 <nil>
	// <nil> 1s
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

// Hooks of several packages are joined.
func ExampleJoinHooks() {
	log := points.Hooks{UpdateEnd: func(info points.UpdateInfo) { fmt.Println("log:", info.Users) }}
	metrics := points.Hooks{UpdateEnd: func(info points.UpdateInfo) { fmt.Println("metrics:", info.Users) }}
	store := &roster{users: []points.User{{ID: 1}, {ID: 2}, {ID: 3}}}
	engine, err := points.New(store, points.Config{Hooks: points.JoinHooks(log, metrics)})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := engine.Update(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// log: 3
	// metrics: 3
}

// A store reports its progress to a function in the context.
func ExampleWithProgress() {
	store, err := memstore.New(1000)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := points.WithProgress(context.Background(), func(done, total int64) {
		fmt.Printf("%d of %d users\n", done, total)
	})
	if _, err := store.UpdateAll(ctx, 7); err != nil {
		fmt.Println(err)
	}
	// Output: 1000 of 1000 users
}

func ExampleDraw() {
	for id := range int64(5) {
		fmt.Print(points.Draw(id, 7), " ")
	}
	// Output: 31 100 25 71 79
}

// A Generator draws for many users with one key.
func ExampleNewGenerator() {
	generator := points.NewGenerator(7)
	fmt.Println(generator.Points(1) == points.Draw(1, 7))
	// Output: true
}
