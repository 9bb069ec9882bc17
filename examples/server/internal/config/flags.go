package config

import (
	"flag"
	"fmt"
	"io"
)

// flags returns the flags that set c. Their defaults are the values in c now. The quoted word in a flag's usage is its
// environment variable.
func (c *Config) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // Parse returns the error and writes the help
	flags.TextVar(&c.Addr, "addr", c.Addr, "host:port to listen on, `ADDR`; port 0 is any free port")
	flags.TextVar(&c.DatabaseURL, "database-url", c.DatabaseURL, "PostgreSQL database, `DATABASE_URL`, such as\n"+
		"postgres://user:password@host:5432/database; its table users is created and seeded\n"+
		"if it does not exist; empty keeps the users in memory")
	flags.TextVar(&c.Users, "users", c.Users, "number of users, `USERS`, in memory or to seed an empty table with")
	flags.TextVar(&c.Interval, "interval", c.Interval, "time between two ticks, `TIMER_INTERVAL`, as a duration (1m30s)\n"+
		"or in milliseconds (90000); a tick sets a new min number and updates all users")
	flags.BoolVar(&c.UpdateOnStart, "update-on-start", c.UpdateOnStart, "update all users at the start,\n"+
		"`UPDATE_ON_START`; if false, queries find no users of a new table before the first tick")
	flags.TextVar(&c.QueryTimeout, "query-timeout", c.QueryTimeout, "time limit of a query, `QUERY_TIMEOUT`,\n"+
		"as a duration (500ms) or in milliseconds (500)")
	flags.TextVar(&c.MaxWaiting, "max-waiting", c.MaxWaiting, "limit of the wait queue of queries, `MAX_WAITING`;\n"+
		"one more is answered with 503")
	flags.TextVar(&c.MaxConnections, "max-connections", c.MaxConnections, "limit of open connections,\n"+
		"`MAX_CONNECTIONS`; one more is answered with 503 and closed")
	flags.BoolVar(&c.Telemetry, "telemetry", c.Telemetry, "serve /metrics and /dashboard, `TELEMETRY`, and export\n"+
		"traces if OpenTelemetry's variables (OTEL_*) ask for it, which needs a build with -tags otlp")
	flags.TextVar(&c.ControlToken, "control-token", c.ControlToken, "secret, `CONTROL_TOKEN`,\n"+
		"of at least 16 characters; enables /control (pause, resume, update, interval); empty disables it")
	flags.TextVar(&c.LogFormat, "log-format", c.LogFormat, "format of the log, on standard error, `LOG_FORMAT`:\n"+
		"text or json")
	flags.TextVar(&c.LogLevel, "log-level", c.LogLevel, "lowest level that is logged, `LOG_LEVEL`:\n"+
		"debug, info, warn or error")
	return flags
}

// addActions adds the flags that ask for an action, which set the returned value. They have no environment variable.
func addActions(flags *flag.FlagSet) *Action {
	action := ActionServe
	for _, a := range []struct {
		asked Action
		usage string
	}{
		{ActionVersion, "print the version, and exit"},
		{ActionPrintConfig, "print all settings as NAME=value, without passwords, and exit"},
		{ActionHealthcheck, "ask the server at -addr whether it is ready; exit with 0 if it is, otherwise with 1"},
	} {
		flags.BoolFunc(string(a.asked), a.usage, func(string) error {
			action = a.asked
			return nil
		})
	}
	return &action
}

// Print writes the settings to w, one NAME=value a line, as an env file has them. The names are those of the
// environment variables. Secrets are printed as their MarshalText returns them: not at all.
func (c *Config) Print(w io.Writer) {
	c.flags().VisitAll(func(f *flag.Flag) {
		fmt.Fprintf(w, "%s=%s\n", variable(f), f.Value)
	})
}

// variable returns the environment variable of a flag, or nothing if it has none.
func variable(f *flag.Flag) string {
	name, _ := flag.UnquoteUsage(f)
	return name
}

func writeHelp(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprint(w, `Usage: server [flags]

GET / returns at most 2 users with more points than the min number, and the timestamp of the query before.
GET /healthz is the liveness check, GET /readyz the readiness check; GET /updates lists the latest updates.
SIGTERM or an interrupt shuts the server down gracefully, a second one ends it at once.

Each setting also has an environment variable, named after its flag here. A flag overrides its variable.

`)
	flags.SetOutput(w)
	flags.PrintDefaults()
}
