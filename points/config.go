package points

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Config configures an [Engine]. The zero value is the default.
type Config struct {
	// Interval is the time between two ticks. The default is 1 minute; the least is 1 millisecond.
	Interval time.Duration

	// Limit is how many users a query gets at most. The default is 2.
	Limit int

	// MinNumber draws the hidden number, at the start and at each tick: in 0..MaxPoints. The default is uniform. It is
	// called by one goroutine at a time.
	MinNumber func() int

	// QueryTimeout is how long a query may take, waiting included. The default is 5 seconds.
	QueryTimeout time.Duration

	// TrialTimeout bounds what an outage of the store costs. Once a read has failed that took longer than this, the
	// store is down: queries fail at once with ErrStoreDown, but for one at a time, every 100 milliseconds, whose read
	// tries the store for so long. The first such read that succeeds ends the outage. The default is 500 milliseconds.
	// Queries of an Immediate store each read for themselves, whatever happened to others.
	TrialTimeout time.Duration

	// MaxWaiting is how many queries may wait at one moment; one more gets ErrOverloaded. The default is 10,000.
	// Callers of an Immediate store wait for a lock alone and are not counted.
	MaxWaiting int

	// UpdateOnStart makes Run begin with an update. The default is to wait for the first tick.
	UpdateOnStart bool

	// StopTimeout is how long Run waits, once its context has ended, for a running update to stop. The default is 10
	// seconds.
	StopTimeout time.Duration

	// Updater configures the engine's updater. Its Logger and Hooks do not count: the updater has the engine's.
	Updater UpdaterConfig

	// Logger gets a line for each update and for each tick that started none. The default is silent.
	Logger *slog.Logger

	// Hooks are called when something happened. The default is none.
	Hooks Hooks
}

func (c Config) withDefaults() Config {
	c.Interval = cmp.Or(c.Interval, time.Minute)
	c.Limit = cmp.Or(c.Limit, 2)
	c.QueryTimeout = cmp.Or(c.QueryTimeout, 5*time.Second)
	c.TrialTimeout = cmp.Or(c.TrialTimeout, 500*time.Millisecond)
	c.MaxWaiting = cmp.Or(c.MaxWaiting, 10_000)
	c.StopTimeout = cmp.Or(c.StopTimeout, 10*time.Second)
	if c.MinNumber == nil {
		c.MinNumber = func() int { return rand.IntN(MaxPoints + 1) }
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Updater.Logger = c.Logger
	c.Updater.Hooks = c.Hooks
	return c
}

func (c Config) validate() error {
	switch {
	case c.Limit < 1:
		return fmt.Errorf("points: Config.Limit cannot be less than 1: %d", c.Limit)
	case c.QueryTimeout < 0:
		return fmt.Errorf("points: Config.QueryTimeout cannot be negative: %v", c.QueryTimeout)
	case c.TrialTimeout < 0:
		return fmt.Errorf("points: Config.TrialTimeout cannot be negative: %v", c.TrialTimeout)
	case c.MaxWaiting < 1:
		return fmt.Errorf("points: Config.MaxWaiting cannot be less than 1: %d", c.MaxWaiting)
	case c.StopTimeout < 0:
		return fmt.Errorf("points: Config.StopTimeout cannot be negative: %v", c.StopTimeout)
	}
	return validateInterval(c.Interval)
}

func validateInterval(interval time.Duration) error {
	if interval < time.Millisecond {
		return fmt.Errorf("points: Config.Interval cannot be shorter than 1ms: %v", interval)
	}
	return nil
}

// UpdaterConfig configures an [Updater]. The zero value is the default.
type UpdaterConfig struct {
	// Timeout is how long an update may take. The default is 10 minutes.
	Timeout time.Duration

	// MaxFailures is how many updates must fail in a row for the circuit breaker to open. The default is 3.
	MaxFailures int

	// Cooldown is how long the open circuit breaker refuses updates before it lets one through as a trial. The default
	// is 2 minutes.
	Cooldown time.Duration

	// Key draws the key of an update. The default is uniform over all of uint64. It is called by one goroutine at a
	// time.
	Key func() uint64

	// Logger gets a line for each update. The default is silent. An engine's updater has the engine's instead.
	Logger *slog.Logger

	// Hooks are called before and after an update. The default is none. An engine's updater has the engine's instead.
	Hooks Hooks
}

func (c UpdaterConfig) withDefaults() UpdaterConfig {
	c.Timeout = cmp.Or(c.Timeout, 10*time.Minute)
	c.MaxFailures = cmp.Or(c.MaxFailures, 3)
	c.Cooldown = cmp.Or(c.Cooldown, 2*time.Minute)
	if c.Key == nil {
		c.Key = rand.Uint64
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

func (c UpdaterConfig) validate() error {
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("points: UpdaterConfig.Timeout cannot be negative: %v", c.Timeout)
	case c.MaxFailures < 1:
		return fmt.Errorf("points: UpdaterConfig.MaxFailures cannot be less than 1: %d", c.MaxFailures)
	case c.Cooldown < 0:
		return fmt.Errorf("points: UpdaterConfig.Cooldown cannot be negative: %v", c.Cooldown)
	}
	return nil
}
