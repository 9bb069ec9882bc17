package points_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

func TestInvalidConfig(t *testing.T) {
	for _, test := range []struct {
		cfg  points.Config
		want string
	}{
		{points.Config{Interval: -time.Second}, "points: Config.Interval must be at least 1ms, got -1s"},
		{points.Config{Interval: time.Millisecond - 1}, "points: Config.Interval must be at least 1ms, got 999.999µs"},
		{points.Config{Limit: -1}, "points: Config.Limit must be at least 1, got -1"},
		{points.Config{ProbeTimeout: -1}, "points: Config.ProbeTimeout must not be negative, got -1ns"},
		{points.Config{QueryTimeout: -1}, "points: Config.QueryTimeout must not be negative, got -1ns"},
		{points.Config{MaxWaiting: -1}, "points: Config.MaxWaiting must be at least 1, got -1"},
		{points.Config{StopTimeout: -1}, "points: Config.StopTimeout must not be negative, got -1ns"},
		{points.Config{Instance: strings.Repeat("x", 101)}, "points: Config.Instance must have at most 100 bytes, got 101"},
		{points.Config{Instance: "a\nb"}, `points: Config.Instance must be printable, got "a\nb"`},
		{points.Config{Instance: "\xff"}, `points: Config.Instance must be printable, got "\xff"`},
		{points.Config{MinNumber: func() int { return -1 }}, "points: Config.MinNumber must return a number in 0..100, got -1"},
		{points.Config{MinNumber: func() int { return 101 }}, "points: Config.MinNumber must return a number in 0..100, got 101"},
		{updaterConfig(points.UpdaterConfig{Timeout: -1}), "points: Config.Updater.Timeout must not be negative, got -1ns"},
		{updaterConfig(points.UpdaterConfig{MaxFailures: -1}), "points: Config.Updater.MaxFailures must be at least 1, got -1"},
		{updaterConfig(points.UpdaterConfig{Cooldown: -1}), "points: Config.Updater.Cooldown must not be negative, got -1ns"},
	} {
		engine, err := points.New(&fake{}, test.cfg)
		require.EqualError(t, err, test.want)
		assert.Nil(t, engine)
	}
	_, err := points.New(nil, points.Config{})
	assert.EqualError(t, err, "points: New needs a store, got nil")
}

func updaterConfig(cfg points.UpdaterConfig) points.Config { return points.Config{Updater: cfg} }

func TestReadGetsMinNumberAndLimit(t *testing.T) {
	for _, test := range []struct {
		cfg            points.Config
		minimum, limit int
	}{
		{points.Config{MinNumber: func() int { return 0 }}, 0, 2},
		{points.Config{MinNumber: func() int { return points.MaxPoints }, Limit: 7}, points.MaxPoints, 7},
	} {
		var minimum, limit int
		store := &fake{read: func(_ context.Context, m, l int) ([]points.User, error) {
			minimum, limit = m, l
			return nil, nil
		}}
		query(t, newEngine(t, store, test.cfg))
		assert.Equal(t, test.minimum, minimum)
		assert.Equal(t, test.limit, limit)
	}
}

// If the min number is uniform on 0..100, one of the values is missing among 5,000 with a probability below 1e-19.
func TestDefaultMinNumber(t *testing.T) {
	numbers := make(map[int]bool)
	store := immediateFake{&fake{read: func(_ context.Context, minimum, _ int) ([]points.User, error) {
		numbers[minimum] = true
		return nil, nil
	}}}
	for range 5000 {
		query(t, newEngine(t, store, points.Config{}))
	}
	assert.Len(t, numbers, points.MaxPoints+1)
	assert.True(t, numbers[0] && numbers[points.MaxPoints])
}

func TestDefaults(t *testing.T) {
	state := newEngine(t, &fake{}, points.Config{}).State()
	assert.Equal(t, points.State{
		Interval: time.Minute,
		Updater:  points.UpdaterState{Breaker: points.BreakerClosed},
	}, state)
}
