// Package config is the server's configuration: its settings, from flags and environment variables.
package config

import (
	"time"

	"github.com/pointsapp/pointsapp/pgstore"
)

// Config has the server's settings. [Defaults] returns the default of each.
type Config struct {
	// Addr is where to listen: host:port, or a Unix socket. The default is 127.0.0.1:4000.
	Addr Address `env:"ADDR"`

	// DatabaseURL is the PostgreSQL database to serve. The default is empty: users in memory.
	DatabaseURL DatabaseURL `env:"DATABASE_URL"`

	// Schema is the schema of the table. The default is empty: the search_path of the database user decides.
	Schema Schema `env:"SCHEMA"`

	// Table is the name of the table. The default is users.
	Table Table `env:"TABLE"`

	// Shared makes all servers with the same database act as one: one order of queries, one tick per interval and one
	// update per tick, also over restarts. The default is DefaultShared; with users in memory it is false.
	Shared bool `env:"SHARED"`

	// Instance identifies the server among those that share a database, in logs and in traces. Servers that run at the
	// same time must have different ones. The default is empty: the host name and a random suffix.
	Instance Instance `env:"INSTANCE"`

	// Users is the number of users in memory, or that an empty table is seeded with. The default is 1,000,000.
	Users Users `env:"USERS"`

	// Interval is the time between two ticks; its variable has the original's name. The default is 1 minute.
	Interval Duration `env:"TIMER_INTERVAL"`

	// UpdateOnStart updates the users at the start; with Shared, only if there has never been a tick. Without it, the
	// users of a new table have 0 points, and queries find none, until the first tick. The default is true.
	UpdateOnStart bool `env:"UPDATE_ON_START"`

	// QueryTimeout limits how long a query takes, including its time in the wait queue; then it is answered with 504. The
	// default is 5 seconds.
	QueryTimeout Duration `env:"QUERY_TIMEOUT"`

	// MaxWaiting limits the wait queue of queries to a database; further ones get 503. The default is 10,000.
	MaxWaiting MaxWaiting `env:"MAX_WAITING"`

	// MaxConnections limits the open connections. For a further one, the connection that has been idle for the longest
	// time is closed; if none has been idle for a second, the new one gets 503. The default is 10,000.
	MaxConnections MaxConnections `env:"MAX_CONNECTIONS"`

	// IdleTimeout limits how long a connection may be idle between two requests. The default is 2 minutes.
	IdleTimeout Duration `env:"IDLE_TIMEOUT"`

	// ShutdownDelay is how long a server that is shutting down keeps answering queries while /readyz answers 503, so that
	// load balancers notice. The default is 2 seconds.
	ShutdownDelay Delay `env:"SHUTDOWN_DELAY"`

	// ShutdownTimeout limits a shutdown, including ShutdownDelay, which is at most half of it. The default is 10 seconds.
	ShutdownTimeout Duration `env:"SHUTDOWN_TIMEOUT"`

	// Telemetry measures requests, the engine and the database, and serves /metrics and /dashboard. With an exporter
	// (server.WithExporter), OpenTelemetry's environment variables (OTEL_*) configure an export. The default is true.
	Telemetry bool `env:"TELEMETRY"`

	// ControlToken is the secret for /control, which pauses and resumes ticks, changes their interval and starts updates.
	// The default is empty, which disables /control.
	ControlToken Secret `env:"CONTROL_TOKEN"`

	// CORSOrigins are the origins whose pages may read responses to GET and HEAD. The default is none.
	CORSOrigins Origins `env:"CORS_ORIGINS"`

	// LogFormat is the format of the log. The default is text.
	LogFormat LogFormat `env:"LOG_FORMAT"`

	// LogLevel is the lowest level that is logged. The default is info.
	LogLevel LogLevel `env:"LOG_LEVEL"`
}

// DefaultShared is the default of Config.Shared with a database.
const DefaultShared = true

// Defaults returns the default configuration. Its Shared is that of a server with a database: without one, it has no
// effect.
func Defaults() Config {
	return Config{
		Addr:            "127.0.0.1:4000",
		Table:           pgstore.DefaultTable,
		Shared:          DefaultShared,
		Users:           1_000_000,
		Interval:        Duration(time.Minute),
		UpdateOnStart:   true,
		QueryTimeout:    Duration(5 * time.Second),
		MaxWaiting:      10_000,
		MaxConnections:  10_000,
		IdleTimeout:     Duration(2 * time.Minute),
		ShutdownDelay:   Delay(2 * time.Second),
		ShutdownTimeout: Duration(10 * time.Second),
		Telemetry:       true,
		LogFormat:       "text",
	}
}

// An Action is what the program does with its configuration.
type Action string

// The program serves unless a flag asks for another action; of several such flags, the last one counts.
const (
	ActionServe       Action = ""
	ActionVersion     Action = "version"      // print the version
	ActionPrintConfig Action = "print-config" // print the settings: Config.Print
	ActionHealthcheck Action = "healthcheck"  // ask a running server: server.Healthcheck
)
