// Package config is the server's configuration: its settings, from flags and environment variables.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config has the server's settings. [Defaults] returns the default of each.
type Config struct {
	// Addr is where to listen. The default is 127.0.0.1:4000.
	Addr Address `env:"ADDR"`

	// DatabaseURL is the PostgreSQL database to serve. The default is empty: users in memory.
	DatabaseURL DatabaseURL `env:"DATABASE_URL"`

	// Users is how many users an empty table is filled with, or how many there are in memory. The default is
	// 1,000,000.
	Users Users `env:"USERS"`

	// Interval is the time between two ticks. The default is 1 minute.
	Interval Duration `env:"TIMER_INTERVAL"`

	// UpdateOnStart gives the users points at the start. Without it nobody has any, and no query finds anyone, until
	// the first tick. The default is true.
	UpdateOnStart bool `env:"UPDATE_ON_START"`

	// QueryTimeout is how long a query may take, waiting included, before it is answered with 504. The default is 5
	// seconds.
	QueryTimeout Duration `env:"QUERY_TIMEOUT"`

	// MaxWaiting is how many queries of a database may wait at one moment; one more is answered with 503. The default
	// is 10,000.
	MaxWaiting MaxWaiting `env:"MAX_WAITING"`

	// MaxConnections is how many connections may be open at one moment; one more is answered with 503 and closed. The
	// default is 10,000.
	MaxConnections MaxConnections `env:"MAX_CONNECTIONS"`

	// Telemetry measures requests, the engine and the database, and serves /metrics and /dashboard. With an exporter
	// ([WithExporter]), OpenTelemetry's environment variables (OTEL_*) configure an export. The default is true.
	Telemetry bool `env:"TELEMETRY"`

	// ControlToken allows those who have it to pause and resume ticks, to change their interval and to start an
	// update, over HTTP. The default is empty: nobody can.
	ControlToken Secret `env:"CONTROL_TOKEN"`

	// LogFormat is the format of the log. The default is text.
	LogFormat LogFormat `env:"LOG_FORMAT"`

	// LogLevel is the least level that is logged. The default is info.
	LogLevel LogLevel `env:"LOG_LEVEL"`
}

// Defaults returns the default configuration.
func Defaults() Config {
	return Config{
		Addr:           "127.0.0.1:4000",
		Users:          1_000_000,
		Interval:       Duration(time.Minute),
		UpdateOnStart:  true,
		QueryTimeout:   Duration(5 * time.Second),
		MaxWaiting:     10_000,
		MaxConnections: 10_000,
		Telemetry:      true,
		LogFormat:      "text",
	}
}

// An Action is what the command is asked to do with its configuration.
type Action string

// To serve is what it does unless a flag asks for something else; of several such flags, the last one counts.
const (
	ActionServe       Action = ""
	ActionVersion     Action = "version"      // print which version this is
	ActionPrintConfig Action = "print-config" // Config.Print
	ActionHealthcheck Action = "healthcheck"  // Healthcheck
)

// Parse returns the configuration that the flags in args make of the defaults, and before them the environment
// variables in environ, each key=value; a variable that is empty is as one that is not set. It also returns what args
// ask to do with it. If they ask for help, Parse writes the explanation of all of them to help and returns
// flag.ErrHelp. Any other error is one line, and has no password in it.
func Parse(args, environ []string, help io.Writer) (Config, Action, error) {
	cfg := Defaults()
	envErr := cfg.setFromEnvironment(environ)
	flags := cfg.flags()
	action := addActions(flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		writeHelp(help, flags)
		return Config{}, ActionServe, err
	case err != nil:
		return Config{}, ActionServe, hideSecrets(err, flags)
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: flags are given as -name=value", flags.Arg(0))
		return Config{}, ActionServe, hideSecrets(err, flags)
	case envErr != nil:
		return Config{}, ActionServe, hideSecrets(envErr, flags)
	}
	return cfg, *action, nil
}

// flags returns the flags that set c; what is in it now are their defaults. In a flag's usage its environment
// variable is quoted.
func (c *Config) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // Parse returns the error, and writes the help
	flags.TextVar(&c.Addr, "addr", c.Addr, "host:port to listen on, `ADDR`; port 0 takes a free one")
	flags.TextVar(&c.DatabaseURL, "database-url", c.DatabaseURL, "PostgreSQL database, `DATABASE_URL`, such as\n"+
		"postgres://user:password@host:5432/database; its table users is created and filled\n"+
		"if need be; empty: users in memory")
	flags.TextVar(&c.Users, "users", c.Users, "number of users, `USERS`, in memory, or that an empty table is filled with")
	flags.TextVar(&c.Interval, "interval", c.Interval, "time between two ticks, `TIMER_INTERVAL`, as a duration (1m30s)\n"+
		"or in milliseconds (90000); a tick draws a new hidden number and gives all users new points")
	flags.BoolVar(&c.UpdateOnStart, "update-on-start", c.UpdateOnStart, "give all users points at the start, "+
		"`UPDATE_ON_START`;\nif false, no query finds anyone before the first tick")
	flags.TextVar(&c.QueryTimeout, "query-timeout", c.QueryTimeout, "time that a query may take, `QUERY_TIMEOUT`,\n"+
		"as a duration (500ms) or in milliseconds (500)")
	flags.TextVar(&c.MaxWaiting, "max-waiting", c.MaxWaiting, "number of queries, `MAX_WAITING`, that may wait for the "+
		"database\nat one moment; one more is answered with 503")
	flags.TextVar(&c.MaxConnections, "max-connections", c.MaxConnections, "number of connections, `MAX_CONNECTIONS`, "+
		"that may be open\nat one moment; one more is answered with 503 and closed")
	flags.BoolVar(&c.Telemetry, "telemetry", c.Telemetry, "serve /metrics and /dashboard, `TELEMETRY`, and export\n"+
		"traces if OpenTelemetry's variables (OTEL_*) ask for it, which needs a build with -tags otlp")
	flags.TextVar(&c.ControlToken, "control-token", c.ControlToken, "secret, `CONTROL_TOKEN`, of at least 16 characters: "+
		"who has it\nmay pause and resume ticks, change their interval and start an update, at /control;\nempty: nobody may")
	flags.TextVar(&c.LogFormat, "log-format", c.LogFormat, "format of the log, on standard error, `LOG_FORMAT`:\n"+
		"text or json")
	flags.TextVar(&c.LogLevel, "log-level", c.LogLevel, "least level that is logged, `LOG_LEVEL`:\n"+
		"debug, info, warn or error")
	return flags
}

// addActions adds the flags that ask for an action; they set what it returns. They have no environment variable.
func addActions(flags *flag.FlagSet) *Action {
	action := ActionServe
	for _, a := range []struct {
		asked Action
		usage string
	}{
		{ActionVersion, "print the version, and exit"},
		{ActionPrintConfig, "print what all settings come to, as NAME=value without passwords, and exit"},
		{ActionHealthcheck, "ask the server at -addr whether it can answer, and exit with 0 if so, else with 1"},
	} {
		flags.BoolFunc(string(a.asked), a.usage, func(string) error {
			action = a.asked
			return nil
		})
	}
	return &action
}

// Print writes the settings to w, one NAME=value a line, as an env file has them. The names are those of the
// environment variables; of what is secret there is no more than its MarshalText tells.
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

Answers GET / with at most 2 users above a hidden number, and the time of the query before.
GET /healthz tells that it is alive, GET /readyz whether it can answer, GET /updates when updates ran.
SIGTERM or an interrupt ends it gracefully, a second one at once.

Each setting has an environment variable, named after its flag here, which counts where the flag is not given:

`)
	flags.SetOutput(w)
	flags.PrintDefaults()
}

// setFromEnvironment sets what environ has. Its error names the variable.
func (c *Config) setFromEnvironment(environ []string) error {
	variables := env.ToMap(environ)
	for name, value := range variables {
		if value == "" {
			delete(variables, name)
		}
	}
	err := env.ParseWithOptions(c, env.Options{
		Environment: variables,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[bool](): parseBool},
	})
	parseErr, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return err
	}
	field, _ := reflect.TypeFor[Config]().FieldByName(parseErr.Name)
	name := field.Tag.Get("env")
	return fmt.Errorf("invalid value %q for environment variable %s: %w", variables[name], name, parseErr.Err)
}

func parseBool(text string) (any, error) {
	value, err := strconv.ParseBool(text)
	if err != nil {
		return nil, errors.New("must be true or false")
	}
	return value, nil
}

// hideSecrets replaces what the error's text quotes if that may be a connection string or a token, or a piece of one: a
// shell splits a password that has a space into several arguments.
func hideSecrets(err error, flags *flag.FlagSet) error {
	const hidden = "(hidden, as it may hold a password)"
	secretFlag := false
	flags.Visit(func(f *flag.Flag) {
		secretFlag = secretFlag || f.Name == "database-url" || f.Name == "control-token"
	})
	message := err.Error()
	if what, argument, ok := strings.Cut(message, ": -"); ok && secretFlag && argument != "" && !strings.Contains(what, " for ") {
		return errors.New(what + ": " + hidden) // flag provided but not defined, bad flag syntax
	}
	quoted := regexp.MustCompile(`(?i)"(?:[^"\\]|\\.)*(?:@|://|password)(?:[^"\\]|\\.)*"`)
	if secretFlag || regexp.MustCompile(`(?i)control.token|database.url`).MatchString(message) {
		quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	}
	return errors.New(quoted.ReplaceAllLiteralString(message, hidden))
}
