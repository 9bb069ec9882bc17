package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

func TestParseConfig(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args, environ []string
		want          func(*config.Config)
	}{
		"nothing": {nil, nil, func(*config.Config) {}},
		"a database is shared": {
			[]string{"-database-url=postgres://db/points"}, nil,
			func(c *config.Config) { c.DatabaseURL, c.Shared = "postgres://db/points", true },
		},
		"a database is not shared": {
			[]string{"-shared=false"}, []string{"SHARED=true", "DATABASE_URL=postgres://db/points"},
			func(c *config.Config) { c.DatabaseURL, c.Shared = "postgres://db/points", false },
		},
		"users in memory are not shared": {
			[]string{"-shared=false"}, []string{"SHARED=true"},
			func(*config.Config) {},
		},
		"all flags": {
			[]string{
				"-addr", ":8080", "-database-url=postgres://db/points", "-schema=app", "-table", "members", "-shared=false", "-instance=one", "-users=0", "-interval=90s", "-update-on-start=false",
				"-query-timeout", "250ms", "-max-waiting=9", "-max-connections=7", "-idle-timeout=10m20s", "-shutdown-delay=3s", "-shutdown-timeout=6000", "-telemetry=false", "-cors-origins=https://a.example", "-control-token=sixteen letters!", "-log-format=json", "-log-level=DEBUG",
			}, nil,
			func(c *config.Config) {
				*c = config.Config{
					Addr: ":8080", DatabaseURL: "postgres://db/points", Schema: "app", Table: "members", Instance: "one", Users: 0, Interval: config.Duration(90 * time.Second),
					UpdateOnStart: false, QueryTimeout: config.Duration(250 * time.Millisecond), MaxWaiting: 9, MaxConnections: 7,
					IdleTimeout: config.Duration(620 * time.Second), ShutdownDelay: config.Delay(3 * time.Second), ShutdownTimeout: config.Duration(6 * time.Second),
					Telemetry: false, CORSOrigins: "https://a.example", ControlToken: "sixteen letters!",
					LogFormat: "json", LogLevel: config.LogLevel(slog.LevelDebug),
				}
			},
		},
		"all variables": {
			nil,
			[]string{
				"ADDR=[::1]:0", "DATABASE_URL=host=db dbname=points", "SCHEMA=app", "TABLE=members", "SHARED=false", "INSTANCE=one", "USERS=7", "TIMER_INTERVAL=60000",
				"UPDATE_ON_START=false", "QUERY_TIMEOUT=1500", "MAX_WAITING=8", "MAX_CONNECTIONS=6", "IDLE_TIMEOUT=620000", "SHUTDOWN_DELAY=3s", "SHUTDOWN_TIMEOUT=6000", "TELEMETRY=false", "CORS_ORIGINS=https://a.example", "CONTROL_TOKEN=sixteen letters!", "LOG_FORMAT=json", "LOG_LEVEL=error", "HOME=/",
			},
			func(c *config.Config) {
				*c = config.Config{
					Addr: "[::1]:0", DatabaseURL: "host=db dbname=points", Schema: "app", Table: "members", Instance: "one", Users: 7, Interval: config.Duration(time.Minute),
					UpdateOnStart: false, QueryTimeout: config.Duration(1500 * time.Millisecond), MaxWaiting: 8, MaxConnections: 6,
					IdleTimeout: config.Duration(620 * time.Second), ShutdownDelay: config.Delay(3 * time.Second), ShutdownTimeout: config.Duration(6 * time.Second),
					Telemetry: false, CORSOrigins: "https://a.example", ControlToken: "sixteen letters!",
					LogFormat: "json", LogLevel: config.LogLevel(slog.LevelError),
				}
			},
		},
		"a flag counts before a variable": {
			[]string{"-users=1"}, []string{"USERS=2", "ADDR=:1"},
			func(c *config.Config) { c.Users, c.Addr = 1, ":1" },
		},
		"an empty variable is none": {
			nil, []string{"USERS=", "ADDR=", "DATABASE_URL=", "UPDATE_ON_START=", "LOG_LEVEL="},
			func(*config.Config) {},
		},
		"the port of a platform": {
			nil, []string{"PORT=8080"},
			func(c *config.Config) { c.Addr = ":8080" },
		},
		"an address counts before a port": {
			nil, []string{"PORT=8080", "ADDR=:1"},
			func(c *config.Config) { c.Addr = ":1" },
		},
		"an empty database URL": {
			[]string{"-database-url="}, []string{"DATABASE_URL=postgres://db/points"},
			func(*config.Config) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := config.Defaults()
			want.Shared = false
			test.want(&want)
			got, action, err := config.Parse(test.args, test.environ, io.Discard)
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Equal(t, config.ActionServe, action)
		})
	}
}

// An action flag may stand anywhere among the flags; the last one wins.
func TestParseConfigActions(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]config.Action{
		"":                               config.ActionServe,
		"-version":                       config.ActionVersion,
		"-print-config -users=7":         config.ActionPrintConfig,
		"-users=7 -healthcheck":          config.ActionHealthcheck,
		"-version -addr=:1 -healthcheck": config.ActionHealthcheck,
	} {
		cfg, got, err := config.Parse(strings.Fields(args), []string{"LOG_FORMAT=json"}, io.Discard)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Equal(t, config.LogFormat("json"), cfg.LogFormat)
	}
}

// Each error is one line that names the flag or the variable, and the rule.
func TestParseConfigErrors(t *testing.T) {
	t.Parallel()
	const (
		address  = "must be host:port, such as 127.0.0.1:4000 or :4000, or unix: and an absolute path, such as unix:/run/points.sock"
		mode     = "must end with the mode of the socket in octal digits, such as unix:/run/points.sock|0660"
		duration = "must be a duration such as 1m30s, or a number of milliseconds"
		database = "must look like postgres://user:password@host:5432/database: "
	)
	for given, want := range map[string]string{
		"-nonsense":                   `flag provided but not defined: -nonsense`,
		"serve":                       `unexpected argument serve: flags are given as -name=value`,
		"-addr":                       `flag needs an argument: -addr`,
		"-addr=localhost":             `-addr ` + address + `, got localhost`,
		"-addr=:http":                 `-addr ` + address + `, got :http`,
		"-addr=:65536":                `-addr ` + address + `, got :65536`,
		"-addr=a b:1":                 `-addr ` + address + `, got "a b:1"`,
		"-addr=a\n:1":                 `-addr ` + address + `, got "a\n:1"`,
		"-addr=a b":                   `-addr ` + address + `, got "a b"`,
		"-addr=unix:":                 `-addr ` + address + `, got unix:`,
		"-addr=unix:a.sock":           `-addr ` + address + `, got unix:a.sock`,
		"-addr=unix:/a|":              `-addr ` + mode + `, got unix:/a|`,
		"-addr=unix:/a|0888":          `-addr ` + mode + `, got unix:/a|0888`,
		"-addr=unix:/a|1777":          `-addr ` + mode + `, got unix:/a|1777`,
		"ADDR=unix:/a|0":              `ADDR ` + mode + `, got unix:/a|0`,
		"-addr=postgres://me@db":      `-addr ` + address + `, got a text that may hold a password`,
		"ADDR=4000":                   `ADDR ` + address + `, got 4000`,
		"-users=-1":                   `-users must be at least 0, got -1`,
		"-users=many":                 `-users must be a whole number, got many`,
		"-users=1e6":                  `-users must be a whole number, got 1e6`,
		"-users=99999999999999999999": `-users must be a whole number, got 99999999999999999999`,
		"USERS=-1":                    `USERS must be at least 0, got -1`,
		"-interval=":                  `-interval ` + duration + `, got ""`,
		"-interval=0":                 `-interval must be at least 1ms, got 0`,
		"-interval=-1m":               `-interval must be at least 1ms, got -1m`,
		"-interval=1h30":              `-interval ` + duration + `, got 1h30`,
		"-interval=1.5":               `-interval ` + duration + `, got 1.5`,
		"-shutdown-delay=-1s":         `-shutdown-delay must be at least 0, got -1s`,
		"SHUTDOWN_TIMEOUT=0":          `SHUTDOWN_TIMEOUT must be at least 1ms, got 0`,
		"SHUTDOWN_TIMEOUT=3s": `-shutdown-delay (SHUTDOWN_DELAY) must be at most half of -shutdown-timeout ` +
			`(SHUTDOWN_TIMEOUT), 1.5s, got 2s`,
		"-interval=100us":                      `-interval must be at least 1ms, got 100us`,
		"-interval=9223372036855":              `-interval ` + duration + `, got 9223372036855`,
		"TIMER_INTERVAL=soon":                  `TIMER_INTERVAL ` + duration + `, got soon`,
		"-query-timeout=never":                 `-query-timeout ` + duration + `, got never`,
		"QUERY_TIMEOUT=0":                      `QUERY_TIMEOUT must be at least 1ms, got 0`,
		"-max-waiting=0":                       `-max-waiting must be at least 1, got 0`,
		"MAX_WAITING=all":                      `MAX_WAITING must be a whole number, got all`,
		"-max-connections=0":                   `-max-connections must be at least 1, got 0`,
		"-update-on-start=maybe":               `-update-on-start must be true or false, got maybe`,
		"UPDATE_ON_START=maybe":                `UPDATE_ON_START must be true or false, got maybe`,
		"-shared=maybe":                        `-shared must be true or false, got maybe`,
		"-shared":                              `-shared needs a database: set -database-url (DATABASE_URL)`,
		"SHARED=true":                          `SHARED needs a database: set -database-url (DATABASE_URL)`,
		"-schema=app":                          `-schema needs a database: set -database-url (DATABASE_URL)`,
		"TABLE=members":                        `TABLE needs a database: set -database-url (DATABASE_URL)`,
		"-table=":                              `-table must have 1 to 51 bytes: letters, digits, _, $ and - (-schema sets the schema), got ""`,
		"-table=app.members":                   `-table must have 1 to 51 bytes: letters, digits, _, $ and - (-schema sets the schema), got app.members`,
		"SCHEMA=a b":                           `SCHEMA must have at most 63 bytes: letters, digits, _, $ and -, got "a b"`,
		"-instance=a b":                        `-instance must have at most 100 letters, digits, dots, hyphens and underscores, got "a b"`,
		"INSTANCE=\xff":                        `INSTANCE must have at most 100 letters, digits, dots, hyphens and underscores, got "\xff"`,
		"CONTROL_TOKEN=sixteen letters!\n":     `CONTROL_TOKEN must have printable ASCII characters only, and no space or newline at either end`,
		"-control-token=sixteen l\u00e4tters!": `-control-token must have printable ASCII characters only, and no space or newline at either end`,
		"-interval=9223372036854ms":            `-interval must be at most 87600h0m0s, got 9223372036854ms`,
		"-shutdown-delay=87601h":               `-shutdown-delay must be at most 87600h0m0s, got 87601h`,
		"PORT=http":                            `PORT must be a number from 0 to 65535, got http`,
		"-control-token=short":                 `-control-token must have at least 16 characters`,
		"CONTROL_TOKEN=short":                  `CONTROL_TOKEN must have at least 16 characters`,
		"-cors-origins=https://a.example/":     `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got https://a.example/`,
		"-cors-origins=https://a.example:443":  `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got https://a.example:443`,
		"-cors-origins=http://a.example:80":    `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got http://a.example:80`,
		"-cors-origins=https://a.example:":     `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got https://a.example:`,
		"-cors-origins=https://a:99999":        `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got https://a:99999`,
		"-cors-origins=https://a:08443":        `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got https://a:08443`,
		"-cors-origins=https://*":              `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got https://*`,
		"-cors-origins=https://*.example":      `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got https://*.example`,
		"-cors-origins=https://münchen.de":     `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got https://münchen.de`,
		"-cors-origins=file://":                `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got a text that may hold a password`,
		"-cors-origins=a.example":              `-cors-origins must be origins such as https://a.example,https://b.example:8443, without path or default port, or *, got a.example`,
		"-log-format=xml":                      `-log-format must be text or json, got xml`,
		"LOG_FORMAT=xml":                       `LOG_FORMAT must be text or json, got xml`,
		"-log-level=loud":                      `-log-level must be debug, info, warn or error, got loud`,
		"LOG_LEVEL=INFO+2":                     `LOG_LEVEL must be debug, info, warn or error, got INFO+2`,
		"-database-url=points":                 `-database-url ` + database + `invalid keyword/value`,
		"DATABASE_URL=mysql://db":              `DATABASE_URL ` + database + `the scheme must be postgres`,
		"DATABASE_URL=redis://a:b@c":           `DATABASE_URL ` + database + `the scheme must be postgres`,
		"DATABASE_URL=host=db x://y":           `DATABASE_URL ` + database + `invalid keyword/value`,
		"postgres://u:s3cret@db":               `unexpected argument, not shown as it may hold a password: flags are given as -name=value`,
		"-s3cret@x":                            `flag provided but not defined: its name is not shown, as it may be part of a secret; put the value in quotes`,
		"DATABASE_URL=postgres://u:100%off@127.0.0.1:1/d": `DATABASE_URL ` + database +
			`in user and password, write % as %25 and a space as %20`,
		"DATABASE_URL=postgres://u:a b@127.0.0.1:1/d": `DATABASE_URL ` + database +
			`in user and password, write % as %25 and a space as %20`,
		"-database-url=postgres://a:b@c@d/e": `-database-url ` + database +
			`in user and password, @ / ? and # are written %40 %2F %3F and %23`,
	} {
		t.Run(given, func(t *testing.T) {
			t.Parallel()
			args, environ := []string{given}, []string(nil)
			if given[0] >= 'A' && given[0] <= 'Z' {
				args, environ = nil, args
			}
			_, _, err := config.Parse(args, environ, io.Discard)
			assert.EqualError(t, err, want)
		})
	}
}

// The help names each flag with its variable and its default. Each field of Config has both; action flags have no
// variable.
func TestHelp(t *testing.T) {
	t.Parallel()
	var help bytes.Buffer
	_, _, err := config.Parse([]string{"-h"}, []string{"USERS=many"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	assert.Contains(t, help.String(), "  -interval DURATION\n")
	assert.Len(t, regexp.MustCompile(`\(env [A-Z_]+\)`).FindAllString(help.String(), -1), reflect.TypeFor[config.Config]().NumField())
	assert.Equal(t, []string{"  -healthcheck", "  -print-config", "  -shared", "  -telemetry", "  -update-on-start", "  -version"},
		regexp.MustCompile(`(?m)^  -[a-z-]+$`).FindAllString(help.String(), -1), "flags without a value")
	for field := range reflect.TypeFor[config.Config]().Fields() {
		variable := field.Tag.Get("env")
		require.NotEmpty(t, variable, field.Name)
		assert.Regexp(t, `(?m)^  -[a-z-]+.*\n(    \t.*\n)*?    \t.*\(env `+variable+`\)`, help.String())
	}
	for line := range strings.Lines(help.String()) {
		assert.LessOrEqual(t, len(line), 120)
	}
	assert.Regexp(t, `\n    \t[^\n]{60,} ticks?`, help.String(), "usages fill the lines")
	for _, text := range []string{
		"(default 127.0.0.1:4000)", "(default 1000000)", "(default 1m0s)", "(default true)", "(default 5s)",
		"(default text)", "(default info)", "milliseconds", "SIGTERM", "/readyz",
	} {
		assert.Contains(t, help.String(), text)
	}
}

// Without quotes, a shell may split a secret. The error then says why it does not name the flag.
func TestPartsOfSecretsAreNotNamed(t *testing.T) {
	t.Parallel()
	_, _, err := config.Parse([]string{"-control-token=sixteen letters!", "-nix"}, nil, io.Discard)
	assert.EqualError(t, err, "flag provided but not defined: its name is not shown, as it may be part of a secret; "+
		"put the value in quotes")
}

// No output contains a password, wherever the password was set.
func TestPasswordsAreHidden(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://me:s3cret@db/points",
		"postgres://me:s3cret@db:port/points",
		"postgres://me:s3cret@db/points?sslmode=nonsense",
		"postgres://me:s3cret%zz@db/points",
		"postgres://me:what?s3cret@db/points",
		"postgres://me:what/s3cret@db/points",
		"postgres://db/points?password=s3cret",
		"postgres://db/points?user=me&password=s3cret&connect_timeout=x",
		"mysql://me:s3cret@db/points",
		"host=db user=me password=s3cret",
		"host=db user=me password='a s3cret' port=x",
		"host=db user=me password='a \"s3cret' port=x",
	} {
		for _, where := range []string{
			"-database-url=", "-users=", "-addr=", "-instance=", "-schema=", "-table=", "-nonsense=", "",
			"DATABASE_URL=", "USERS=", "INSTANCE=", "SCHEMA=", "TABLE=",
		} {
			args, environ := []string{where + url}, []string(nil)
			if strings.ToUpper(where) == where && where != "" {
				args, environ = nil, args
			}
			cfg, _, err := config.Parse(args, environ, io.Discard)
			var out bytes.Buffer
			encoded, jsonErr := json.Marshal(cfg) //nolint:musttag // an error is fine, a leak is not
			require.NoError(t, jsonErr)
			slog.New(slog.NewTextHandler(&out, nil)).Info("", "cfg", cfg, "url", cfg.DatabaseURL)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("", "cfg", cfg, "url", cfg.DatabaseURL)
			cfg.Print(&out)
			fmt.Fprintf(&out, "%v %v %+v %#v %s %s", err, cfg, cfg, cfg, cfg.DatabaseURL, encoded)
			_, _, helpErr := config.Parse([]string{"-h"}, environ, &out)
			require.ErrorIs(t, helpErr, flag.ErrHelp)
			assert.NotContains(t, out.String(), "s3cret", "%s%s", where, url)
		}
	}
}

// String keeps enough of a connection string to recognise the database.
func TestDatabaseURLString(t *testing.T) {
	t.Parallel()
	for url, want := range map[config.DatabaseURL]string{
		"":                               "",
		"postgres://me:s3cret@db/points": "postgres://me@db:5432/points",
		"host=db port=6432 user=me password=x dbname=all": "postgres://me@db:6432/all",
		"postgres://me@/points?host=/run/postgresql":      "postgres://me@/run/postgresql:5432/points",
		"postgres://me:s3cret@db,other:6432/points":       "postgres://me@db:5432,other:6432/points",
		"nonsense": "(malformed)",
	} {
		assert.Equal(t, want, url.String())
	}
}

// Without -instance each server has a name of its own, which is a valid -instance.
func TestDefaultInstance(t *testing.T) {
	t.Parallel()
	assert.Equal(t, config.Instance("one"), config.Instance("one").OrDefault())
	name := config.Instance("").OrDefault()
	assert.Regexp(t, `^.+-[0-9a-f]{8}$`, string(name))
	assert.NotEqual(t, name, config.Instance("").OrDefault())
	_, _, err := config.Parse([]string{"-instance=" + string(name)}, nil, io.Discard)
	require.NoError(t, err)
	_, _, err = config.Parse([]string{"-instance=" + strings.Repeat("x", 101)}, nil, io.Discard)
	assert.ErrorContains(t, err, "-instance must have at most 100 letters")
}

// Names that are nearly those of settings are reported, with the setting.
func TestMisspelt(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{
		"CONTROLTOKEN (is CONTROL_TOKEN meant?)", "DATABASE_URI (is DATABASE_URL meant?)", "INTERVAL (is TIMER_INTERVAL meant?)",
		"TIMER_INTERVALL (is TIMER_INTERVAL meant?)", "timer_interval (is TIMER_INTERVAL meant?)",
	}, config.Misspelt([]string{
		"TIMER_INTERVAL=1s", "TIMER_INTERVALL=1s", "timer_interval=1s", "INTERVAL=1s", "CONTROLTOKEN=x", "DATABASE_URI=x", "USER=me", "PORT=1", "http_proxy=x",
		"POINTS_PORT=tcp://10.0.0.1:80", "LISTEN_FDS=1", "NOTIFY_SOCKET=/run/x", "HOSTNAME=x",
	}))
}
