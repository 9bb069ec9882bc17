package config

import (
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// flags returns the flags that set c. Their defaults are the values in c now. The usage of a flag ends with its
// environment variable: see variable. The help wraps it.
func (c *Config) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // Parse returns the error and writes the help
	flags.TextVar(&c.Addr, "addr", c.Addr, "`HOST:PORT` to listen on; port 0 is any free port; "+
		"or unix:/PATH, a Unix socket, whose mode can follow: unix:/PATH|0660, the default (env ADDR)")
	flags.TextVar(&c.DatabaseURL, "database-url", c.DatabaseURL, "PostgreSQL database, a `URL` such as "+
		"postgres://user:password@host:5432/database; its table is created and seeded "+
		"if it does not exist; in user and password, percent-encode % @ / ? # and spaces "+
		"(%25 %40 %2F %3F %23 %20); empty keeps the users in memory (env DATABASE_URL)")
	flags.TextVar(&c.Schema, "schema", c.Schema,
		"`NAME` of the table's schema; empty: the database's search_path decides "+
			"(env SCHEMA)")
	flags.TextVar(&c.Table, "table", c.Table, "`NAME` of the table (env TABLE)")
	flags.BoolVar(&c.Shared, "shared", c.Shared, "act as one with all servers that use the same database: one order of "+
		"queries, one tick per interval, one update per tick; all of them must set it alike; in memory "+
		"it is false (env SHARED)")
	flags.TextVar(&c.Instance, "instance", c.Instance, "unique `NAME` of this server among those with the "+
		"same database; empty: the host name and a random suffix (env INSTANCE)")
	flags.TextVar(&c.Users, "users", c.Users, "`NUMBER` of users in memory or to seed an empty table with (env USERS)")
	flags.TextVar(&c.Interval, "interval", c.Interval, "time between two ticks, as a `DURATION` (1m30s) or in "+
		"milliseconds (90000); a tick sets a new min number and updates all users (env TIMER_INTERVAL)")
	flags.BoolVar(&c.UpdateOnStart, "update-on-start", c.UpdateOnStart, "update all users at the start; if shared, only "+
		"if there has never been a tick; if false, queries find no users of a new table before the first tick "+
		"(env UPDATE_ON_START)")
	flags.TextVar(&c.QueryTimeout, "query-timeout", c.QueryTimeout, "time limit of a query, as a `DURATION` (500ms) or "+
		"in milliseconds (500) (env QUERY_TIMEOUT)")
	flags.TextVar(&c.MaxWaiting, "max-waiting", c.MaxWaiting, "`LIMIT` of the wait queue of queries; further ones "+
		"get 503 (env MAX_WAITING)")
	flags.TextVar(&c.MaxConnections, "max-connections", c.MaxConnections, "`LIMIT` of open connections; further ones "+
		"replace idle ones, or get 503 and are closed (env MAX_CONNECTIONS)")
	flags.TextVar(&c.IdleTimeout, "idle-timeout", c.IdleTimeout, "close connections that have been idle for this "+
		"`DURATION`; longer than the load balancer keeps them (env IDLE_TIMEOUT)")
	flags.TextVar(&c.ShutdownDelay, "shutdown-delay", c.ShutdownDelay, "during a shutdown, keep answering queries for "+
		"this `DURATION` while /readyz answers 503, so that load balancers notice (env SHUTDOWN_DELAY)")
	flags.TextVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout, "time limit of a shutdown, a `DURATION`; "+
		"it includes -shutdown-delay, which is at most half of it (env SHUTDOWN_TIMEOUT)")
	flags.BoolVar(&c.Telemetry, "telemetry", c.Telemetry, "serve /metrics and /dashboard, and export traces if "+
		"OpenTelemetry's variables (OTEL_*) ask for it, which needs a build with -tags otlp (env TELEMETRY)")
	flags.TextVar(&c.ControlToken, "control-token", c.ControlToken, "`SECRET` of at least 16 characters; "+
		"enables /control (pause, resume, update, interval); empty disables it (env CONTROL_TOKEN)")
	flags.TextVar(&c.CORSOrigins, "cors-origins", c.CORSOrigins, "`ORIGINS` whose pages may read responses to GET, "+
		"such as https://a.example,https://b.example, or * for all; empty: none (env CORS_ORIGINS)")
	flags.TextVar(&c.LogFormat, "log-format", c.LogFormat, "`FORMAT` of the log, on standard error: "+
		"text or json (env LOG_FORMAT)")
	flags.TextVar(&c.LogLevel, "log-level", c.LogLevel, "lowest `LEVEL` that is logged: "+
		"debug (also logs each read of the store), info, warn or error (env LOG_LEVEL)")
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
		{ActionPrintConfig, "print all settings except secrets as an env file (NAME=value), and exit"},
		{ActionHealthcheck, "ask the server at -addr whether it is ready; exit with 0 if it is, otherwise with 1"},
	} {
		flags.BoolFunc(string(a.asked), a.usage, func(string) error {
			action = a.asked
			return nil
		})
	}
	return &action
}

// Print writes the settings to w as an env file: one NAME=value per line, with the names of the environment variables.
// Parsing them gives the same configuration without the secrets, which comments replace.
func (c *Config) Print(w io.Writer) {
	c.flags().VisitAll(func(f *flag.Flag) {
		name, value := variable(f), f.Value.String()
		switch {
		case name == "CONTROL_TOKEN" && c.ControlToken != "":
			fmt.Fprintln(w, "# CONTROL_TOKEN is set and not shown")
			return
		case name == "SHARED" && c.DatabaseURL == "":
			value = "" // the default, so that the servers share their state if a database is added to the env file
		case name == "DATABASE_URL" && c.DatabaseURL != "":
			var hidden []string
			value, hidden = c.DatabaseURL.withoutSecrets()
			for _, parameter := range hidden {
				fmt.Fprintf(w, "# DATABASE_URL has a %s that is not shown", parameter)
				if parameter == "password" || parameter == "sslpassword" {
					fmt.Fprintf(w, ": set PG%s", strings.ToUpper(parameter))
				}
				fmt.Fprintln(w)
			}
		}
		fmt.Fprintf(w, "%s=%s\n", name, value)
	})
}

// variable returns the environment variable of a flag, or nothing if it has none.
func variable(f *flag.Flag) string {
	if match := usageVariable.FindStringSubmatch(f.Usage); match != nil {
		return match[1]
	}
	return ""
}

var usageVariable = regexp.MustCompile(`\(env ([A-Z_]+)\)$`)

func writeHelp(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprint(w, `Usage: server [flags]

GET / returns at most 2 users with more points than the min number, and the timestamp of the query before it.
GET /healthz is the liveness check, GET /readyz the readiness check; GET /updates lists the latest updates.
GET /dashboard is the live page, GET /metrics has metrics for Prometheus, GET /doc describes the API.
SIGTERM or an interrupt shuts the server down gracefully; a second signal ends it at once.

Each setting can also be given as the environment variable after "env". A flag overrides its variable.

`)
	flags.VisitAll(func(f *flag.Flag) { f.Usage = wrap(f.Usage) })
	flags.SetOutput(w)
	flags.PrintDefaults()
}

// wrap breaks a usage into lines of at most 90 bytes. (env NAME) stays on one line.
func wrap(usage string) string {
	const width, space = 90, "\x00"
	var b strings.Builder
	line := 0
	for word := range strings.FieldsSeq(strings.ReplaceAll(usage, "(env ", "(env"+space)) {
		switch {
		case line == 0:
		case line+1+len(word) > width:
			b.WriteString("\n")
			line = 0
		default:
			b.WriteString(" ")
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return strings.ReplaceAll(b.String(), space, " ")
}
