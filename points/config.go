package points

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Defaults of [Config] and [UpdaterConfig].
const (
	DefaultInterval      = time.Minute
	DefaultLimit         = 2
	DefaultQueryTimeout  = 5 * time.Second
	DefaultProbeTimeout  = 500 * time.Millisecond
	DefaultMaxWaiting    = 10_000
	DefaultStopTimeout   = 10 * time.Second
	DefaultUpdateTimeout = 10 * time.Minute
	DefaultMaxFailures   = 3
)

// Config configures an [Engine]. The zero value of each field means its default. [New] rejects negative values.
type Config struct {
	// Interval is the time between two ticks: at least 1 ms. The default is DefaultInterval.
	Interval time.Duration

	// Limit is the maximum number of users in a Result. The default is DefaultLimit.
	Limit int

	// MinNumber returns a min number in 0..MaxPoints. New and each tick call it, one at a time. The default is uniform
	// over that range.
	//
	// With a SharedState the number that New draws is not used. Run draws one in advance for the next tick that it
	// claims. It draws another one after it has claimed a tick, and after a Sync that failed, because the failed call
	// may have set the number.
	MinNumber func() int

	// QueryTimeout is the maximum duration of a query, waiting included. The default is DefaultQueryTimeout.
	QueryTimeout time.Duration

	// ProbeTimeout determines when queries begin to fail at once in an outage, and how long a probe of the store may
	// take. After a read that fails and took longer than ProbeTimeout, the store is down: queries fail at once with
	// ErrStoreDown, except that every 100 ms one query probes the store. The first successful probe ends the outage.
	// The timeout of a probe is ProbeTimeout or a quarter of the outage so far, whichever is longer, up to
	// QueryTimeout. It grows because the store may by then need longer than ProbeTimeout for each read. The default is
	// DefaultProbeTimeout. It does not apply to a store with ImmediateReads.
	ProbeTimeout time.Duration

	// MaxWaiting is the maximum number of queries that wait at one moment; further ones fail with ErrOverloaded. The
	// default is DefaultMaxWaiting. It does not apply to a store with ImmediateReads.
	MaxWaiting int

	// UpdateOnStart makes Run start an update at once. The default is to wait for the first tick; until then all users of
	// a new store have 0 points. With a SharedState it makes the first tick come at once, if there has been neither a tick
	// nor a successful update: a restart of one of the engines starts no update.
	UpdateOnStart bool

	// StopTimeout is how long Run waits for a running update to stop after its context has ended. The default is
	// DefaultStopTimeout.
	StopTimeout time.Duration

	// Instance is the name of the engine among those with the same SharedState: at most 100 bytes of printable
	// characters. If two engines that run at the same time have the same one, SharedStatus shows both, and each logs a
	// warning. The default is random. It has no use without a SharedState.
	Instance string

	// Updater configures the updates.
	Updater UpdaterConfig

	// Logger logs each update, each tick that starts none, and each panic of the store. The default discards everything.
	Logger *slog.Logger

	// Hooks are called for batches, ticks and updates. The default is none.
	Hooks Hooks
}

func (c Config) withDefaults() Config {
	c.Interval = cmp.Or(c.Interval, DefaultInterval)
	c.Limit = cmp.Or(c.Limit, DefaultLimit)
	c.QueryTimeout = cmp.Or(c.QueryTimeout, DefaultQueryTimeout)
	c.ProbeTimeout = cmp.Or(c.ProbeTimeout, DefaultProbeTimeout)
	c.MaxWaiting = cmp.Or(c.MaxWaiting, DefaultMaxWaiting)
	c.StopTimeout = cmp.Or(c.StopTimeout, DefaultStopTimeout)
	if c.Instance == "" {
		c.Instance = fmt.Sprintf("%016x", rand.Uint64())
	}
	if c.MinNumber == nil {
		c.MinNumber = func() int { return rand.IntN(MaxPoints + 1) }
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Updater = c.Updater.withDefaults()
	return c
}

func (c Config) validate() error {
	switch {
	case c.Interval < minInterval:
		return fmt.Errorf("points: Config.Interval must be at least %v, got %v", minInterval, c.Interval)
	case c.Limit < 1:
		return fmt.Errorf("points: Config.Limit must be at least 1, got %d", c.Limit)
	case c.QueryTimeout < 0:
		return fmt.Errorf("points: Config.QueryTimeout must not be negative, got %v", c.QueryTimeout)
	case c.ProbeTimeout < 0:
		return fmt.Errorf("points: Config.ProbeTimeout must not be negative, got %v", c.ProbeTimeout)
	case c.MaxWaiting < 1:
		return fmt.Errorf("points: Config.MaxWaiting must be at least 1, got %d", c.MaxWaiting)
	case c.StopTimeout < 0:
		return fmt.Errorf("points: Config.StopTimeout must not be negative, got %v", c.StopTimeout)
	case len(c.Instance) > maxInstance:
		return fmt.Errorf("points: Config.Instance must have at most %d bytes, got %d", maxInstance, len(c.Instance))
	case !utf8.ValidString(c.Instance) || strings.ContainsFunc(c.Instance, notPrintable):
		return fmt.Errorf("points: Config.Instance must be printable, got %q", c.Instance)
	}
	return c.Updater.validate()
}

const (
	minInterval = time.Millisecond
	maxInstance = 100 // bytes of Config.Instance
)

func notPrintable(r rune) bool { return !unicode.IsPrint(r) }

// UpdaterConfig configures the updates of an [Engine]. The zero value of each field means its default. [New] rejects
// negative values.
type UpdaterConfig struct {
	// Timeout is the maximum duration of an update; one that exceeds it has failed. The default is DefaultUpdateTimeout.
	Timeout time.Duration

	// MaxFailures is the number of consecutive failed updates that opens the circuit breaker. An update that is cancelled
	// or exceeds the deadline of its caller's context has not failed. The default is DefaultMaxFailures.
	MaxFailures int

	// Cooldown: the open circuit breaker rejects updates until this time after the start of the latest failed update,
	// and then lets one through as a probe. A Cooldown shorter than a failed update has no effect. The default ends at
	// the later of two times: one and a half intervals after the failed update began, so that every other tick starts
	// an update, and half an interval after it ended.
	Cooldown time.Duration

	// Key returns the key of an update. Calls come one at a time. The default is uniform over all of uint64.
	Key func() uint64
}

func (c UpdaterConfig) withDefaults() UpdaterConfig {
	c.Timeout = cmp.Or(c.Timeout, DefaultUpdateTimeout)
	c.MaxFailures = cmp.Or(c.MaxFailures, DefaultMaxFailures)
	if c.Key == nil {
		c.Key = rand.Uint64
	}
	return c
}

func (c UpdaterConfig) validate() error {
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("points: Config.Updater.Timeout must not be negative, got %v", c.Timeout)
	case c.MaxFailures < 1:
		return fmt.Errorf("points: Config.Updater.MaxFailures must be at least 1, got %d", c.MaxFailures)
	case c.Cooldown < 0:
		return fmt.Errorf("points: Config.Updater.Cooldown must not be negative, got %v", c.Cooldown)
	}
	return nil
}
