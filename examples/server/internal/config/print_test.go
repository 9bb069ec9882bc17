package config_test

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// printAndRead prints a configuration, and reads it back as docker run --env-file does.
func printAndRead(t require.TestingT, cfg config.Config) (printed string, again config.Config) {
	var out strings.Builder
	cfg.Print(&out)
	var environ []string
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		require.Regexp(t, `^[A-Z_]+=`, line)
		environ = append(environ, line)
	}
	again, _, err := config.Parse(nil, environ, io.Discard)
	require.NoError(t, err, "%s", out.String())
	return out.String(), again
}

// -print-config prints each setting, and a comment for each secret.
func TestPrint(t *testing.T) {
	t.Parallel()
	for database, want := range map[string]string{
		"": "DATABASE_URL=\n",
		"postgres://me@db,other:6432/all?sslmode=verify-full&target_session_attrs=any": "\nDATABASE_URL=postgres://me@db,other:6432/all?sslmode=verify-full&target_session_attrs=any\n",
		"postgresql://me:s3cret@db?sslmode=disable":                                    "\n# DATABASE_URL has a password that is not shown: set PGPASSWORD\nDATABASE_URL=postgresql://me@db?sslmode=disable\n",
		"postgres://db/all?p%61ssword=s3cret&sslpassword=s3cret&user=me":               "\n# DATABASE_URL has a password that is not shown: set PGPASSWORD\n# DATABASE_URL has a sslpassword that is not shown: set PGSSLPASSWORD\nDATABASE_URL=postgres://db/all?user=me\n",
		"postgres://db/all?pasword=s3cret":                                             "\n# DATABASE_URL has a pasword that is not shown\nDATABASE_URL=postgres://db/all\n",
		"postgres:///all?host=/run/postgresql&passfile=/etc/pass":                      "\nDATABASE_URL=postgres:///all?host=/run/postgresql&passfile=/etc/pass\n",
		"host=db user=me password=s3cret dbname=all sslmode=require":                   "\n# DATABASE_URL has a password that is not shown: set PGPASSWORD\nDATABASE_URL=postgres:///?host=db&user=me&dbname=all&sslmode=require\n",
		"host = db options='-c \"a=b&c\n\\'' password='s3\\'cret'":                     "\n# DATABASE_URL has a password that is not shown: set PGPASSWORD\nDATABASE_URL=postgres:///?host=db&options=-c%20%22a%3Db%26c%0A%27\n",
	} {
		cfg, _, err := config.Parse(
			[]string{"-interval=90000", "-log-level=DEBUG", "-update-on-start=f"},
			[]string{"ADDR=:80", "USERS=7", "DATABASE_URL=" + database, "CONTROL_TOKEN=sixteen letters!"}, io.Discard)
		require.NoError(t, err)
		printed, again := printAndRead(t, cfg)
		assert.Contains(t, printed, want)
		assert.Subset(t, strings.Split(printed, "\n"), []string{
			"ADDR=:80", "# CONTROL_TOKEN is set and not shown", "USERS=7", "TIMER_INTERVAL=1m30s", "UPDATE_ON_START=false",
			"QUERY_TIMEOUT=5s", "MAX_WAITING=10000", "LOG_FORMAT=text", "LOG_LEVEL=debug",
		})
		again.DatabaseURL, again.ControlToken = cfg.DatabaseURL, cfg.ControlToken
		assert.Equal(t, cfg, again)
	}
}

// A database that is added to the printed settings of a server with users in memory is shared, as by default.
func TestPrintedSharedIsTheDefault(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Parse(nil, nil, io.Discard)
	require.NoError(t, err)
	var out strings.Builder
	cfg.Print(&out)
	environ := append(strings.Split(out.String(), "\n"), "DATABASE_URL=postgres://db/points")
	again, _, err := config.Parse(nil, environ, io.Discard)
	require.NoError(t, err)
	assert.True(t, again.Shared)
}

// Any configuration that is printed and read back is the same, but for its secrets.
func TestPrintedConfigIsTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var environ []string
		maybe := func(name string, value *rapid.Generator[string]) {
			if rapid.Bool().Draw(t, "set "+name) {
				environ = append(environ, name+"="+value.Draw(t, name))
			}
		}
		duration := rapid.Map(rapid.Int64Range(int64(time.Second), int64(time.Hour)), func(d int64) string { return time.Duration(d).String() })
		number := rapid.Map(rapid.IntRange(1, 1_000_000), strconv.Itoa)
		truth := rapid.SampledFrom([]string{"true", "false", "1", "F"})
		name := rapid.StringMatching(`[A-Za-z_äÖ$-]{1,20}`)
		maybe("ADDR", rapid.SampledFrom([]string{":0", "[::1]:80", "[fe80::1%eth0]:1", "db.example:65535", "0.0.0.0:4000", "unix:/run/points.sock", "unix:/run/points.sock|0666"}))
		maybe("PORT", rapid.SampledFrom([]string{"0", "8080"}))
		maybe("INSTANCE", rapid.StringMatching(`[A-Za-z0-9._-]{1,100}`))
		maybe("USERS", number)
		maybe("TIMER_INTERVAL", rapid.OneOf(duration, number))
		maybe("UPDATE_ON_START", truth)
		maybe("QUERY_TIMEOUT", duration)
		maybe("MAX_WAITING", number)
		maybe("MAX_CONNECTIONS", number)
		maybe("IDLE_TIMEOUT", duration)
		environ = append(environ, "SHUTDOWN_DELAY="+rapid.SampledFrom([]string{"0", "1ms", "3µs", "500ms"}).Draw(t, "SHUTDOWN_DELAY"))
		maybe("SHUTDOWN_TIMEOUT", duration)
		maybe("TELEMETRY", truth)
		maybe("CONTROL_TOKEN", rapid.StringMatching(`[!-~][ -~]{14,20}[!-~]`))
		maybe("CORS_ORIGINS", rapid.SampledFrom([]string{"*", "https://a.example,http://b.example:8443"}))
		maybe("LOG_FORMAT", rapid.SampledFrom([]string{"text", "json"}))
		maybe("LOG_LEVEL", rapid.SampledFrom([]string{"debug", "Warn", "error"}))
		if rapid.Bool().Draw(t, "with a database") {
			environ = append(environ, "DATABASE_URL="+connString(t))
			maybe("SCHEMA", name)
			maybe("TABLE", name)
			maybe("SHARED", truth)
		}
		cfg, _, err := config.Parse(nil, environ, io.Discard)
		require.NoError(t, err, "%q", environ)
		printed, again := printAndRead(t, cfg)
		assert.NotContains(t, printed, "s3cret")
		assert.Equal(t, database(t, cfg.DatabaseURL), database(t, again.DatabaseURL), "%q\n%s", environ, printed)
		again.DatabaseURL, again.ControlToken = cfg.DatabaseURL, cfg.ControlToken
		assert.Equal(t, cfg, again, "%s", printed)
	})
}

// connString draws a connection string: a URL, or keywords and values.
func connString(t *rapid.T) string {
	text := rapid.OneOf(rapid.StringMatching(`[a-z]{1,9}`), rapid.StringMatching(`[ -~äß\n\t\v]{0,12}`)).Filter(
		func(s string) bool { return !strings.Contains(s, "s3cret") })
	hosts := rapid.SliceOfN(rapid.SampledFrom([]string{"db", "db.example", "10.0.0.1", "::1"}), 1, 3).Draw(t, "hosts")
	ports := make([]string, len(hosts))
	for i := range ports {
		ports[i] = rapid.SampledFrom([]string{"", "5433", "6432"}).Draw(t, "port")
	}
	parameters := make(map[string]string)
	maybe := func(name string, value *rapid.Generator[string]) {
		if rapid.Bool().Draw(t, "set "+name) {
			parameters[name] = value.Draw(t, name)
		}
	}
	maybe("sslmode", rapid.SampledFrom([]string{"disable", "allow", "prefer", "require", "verify-full"}))
	maybe("connect_timeout", rapid.SampledFrom([]string{"0", "7"}))
	maybe("pool_max_conns", rapid.SampledFrom([]string{"4", "100"}))
	maybe("pool_max_conn_lifetime", rapid.SampledFrom([]string{"1h", "7m"}))
	maybe("default_query_exec_mode", rapid.SampledFrom([]string{"exec", "simple_protocol"}))
	maybe("target_session_attrs", rapid.SampledFrom([]string{"any", "read-write"}))
	maybe("application_name", text)
	maybe("options", text)
	maybe("custom.setting", text)
	maybe("sslpassword", rapid.Just("s3cret"))
	user, dbname, password := text.Draw(t, "user"), text.Draw(t, "dbname"), rapid.SampledFrom([]string{"", "s3cret", "s3cret&='\\ x"}).Draw(t, "password")
	if rapid.Bool().Draw(t, "as a URL") {
		return connURL(t, hosts, ports, user, password, dbname, parameters)
	}
	parameters["host"], parameters["port"] = strings.Join(hosts, ","), strings.Join(ports, ",")
	parameters["user"], parameters["password"], parameters["dbname"] = user, password, dbname
	var s strings.Builder
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(parameters[name])
		space := rapid.SampledFrom([]string{"", " ", "\n\t"}).Draw(t, "space")
		if rapid.Bool().Draw(t, "in quotes") || value == "" {
			value = "'" + value + "'"
		} else {
			value = strings.NewReplacer(" ", `\ `, "\n", "\\\n", "\t", "\\\t", "\v", "\\\v").Replace(value)
		}
		s.WriteString(name + space + "=" + space + value + " ")
	}
	return s.String()
}

func connURL(t *rapid.T, hosts, ports []string, user, password, dbname string, parameters map[string]string) string {
	encode := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	netloc, query := make([]string, 0, len(hosts)), make([]string, 0, len(parameters))
	for i, host := range hosts {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if ports[i] != "" {
			host += ":" + ports[i]
		}
		netloc = append(netloc, host)
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		query = append(query, name+"="+encode(parameters[name]))
	}
	u := rapid.SampledFrom([]string{"postgres://", "postgresql://"}).Draw(t, "scheme")
	if rapid.Bool().Draw(t, "password as a parameter") {
		query = append(query, "user="+encode(user), "password="+encode(password))
	} else {
		u += encode(user) + ":" + encode(password) + "@"
	}
	u += strings.Join(netloc, ",") + rapid.SampledFrom([]string{"", "/", "/" + encode(dbname)}).Draw(t, "path")
	if len(query) > 0 {
		u += "?" + strings.Join(query, "&")
	}
	return u
}

// database returns what a connection string means, without passwords.
func database(t require.TestingT, u config.DatabaseURL) string {
	if u == "" {
		return ""
	}
	pool, err := u.PoolConfig()
	require.NoError(t, err)
	c := pool.ConnConfig
	var described strings.Builder
	fmt.Fprintf(&described, "%q %q %q %v %v %v %v %v", c.User, c.Database, c.RuntimeParams, c.ConnectTimeout, c.DefaultQueryExecMode,
		c.ValidateConnect == nil, c.SSLNegotiation, poolSettings(pool))
	for _, f := range append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...) {
		fmt.Fprintf(&described, " %q:%d %v", f.Host, f.Port, f.TLSConfig != nil)
		if f.TLSConfig != nil {
			fmt.Fprint(&described, f.TLSConfig.ServerName, f.TLSConfig.InsecureSkipVerify)
		}
	}
	return described.String()
}

func poolSettings(c *pgxpool.Config) []any {
	return []any{c.MaxConns, c.MinConns, c.MaxConnLifetime, c.MaxConnIdleTime, c.HealthCheckPeriod}
}
