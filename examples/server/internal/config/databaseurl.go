package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A DatabaseURL is a connection string of PostgreSQL, a URL or keywords and values, or empty. It is printed without its
// passwords.
type DatabaseURL string

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *DatabaseURL) UnmarshalText(text []byte) error {
	*u = DatabaseURL(text)
	if *u == "" {
		return nil
	}
	_, err := u.PoolConfig()
	return err
}

// MarshalText implements encoding.TextMarshaler: it returns what String does.
func (u DatabaseURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// String returns the user, hosts, ports and database of the connection string, completed by PostgreSQL's environment
// variables.
func (u DatabaseURL) String() string {
	if u == "" {
		return ""
	}
	cfg, err := u.PoolConfig()
	if err != nil {
		return "(malformed)"
	}
	c := cfg.ConnConfig
	hosts := []string{hostPort(c.Host, c.Port)}
	for _, f := range c.Fallbacks { // other hosts, and the same ones without TLS
		if host := hostPort(f.Host, f.Port); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return fmt.Sprintf("postgres://%s@%s/%s", c.User, strings.Join(hosts, ","), c.Database)
}

func hostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// GoString returns what String does, for %#v.
func (u DatabaseURL) GoString() string { return u.String() }

// PoolConfig returns the configuration of a pool of connections to the database. Its error has no piece of the
// connection string.
func (u DatabaseURL) PoolConfig() (*pgxpool.Config, error) {
	const form = "must look like postgres://user:password@host:5432/database: "
	if u.isAmbiguous() {
		return nil, errors.New(form + "in user and password, @ / ? and # are written %40 %2F %3F and %23")
	}
	if scheme, _, ok := strings.Cut(string(u), "://"); ok && schemeName.MatchString(scheme) &&
		scheme != "postgres" && scheme != "postgresql" {
		return nil, errors.New(form + "the scheme must be postgres")
	}
	cfg, err := pgxpool.ParseConfig(string(u))
	if err != nil {
		return nil, errors.New(form + parseReason(err))
	}
	for name := range cfg.ConnConfig.RuntimeParams {
		if !parameterName.MatchString(name) {
			return nil, errors.New(form + "a parameter has a name that PostgreSQL does not have")
		}
	}
	return cfg, nil
}

// schemeName matches the scheme of a URL; the start of keywords and values has an equals sign.
var schemeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)

// parameterName matches the names of PostgreSQL's parameters, also those of extensions.
var parameterName = regexp.MustCompile(`^[A-Za-z_]+(\.[A-Za-z_]+)*$`)

// isAmbiguous reports whether u is a URL with an @ that does not end its user and password. A password with an @, or
// with one of / ? # that would end it before the @, has to be percent-encoded: otherwise a part of it is read as the
// host, the port, the database or a parameter, which are logged.
func (u DatabaseURL) isAmbiguous() bool {
	scheme, rest, ok := strings.Cut(string(u), "://")
	if !ok || scheme != "postgres" && scheme != "postgresql" {
		return false
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.Contains(rest[end:], "@") {
		return true
	}
	return strings.Count(rest, "@") > 1
}

// parseReason returns what is wrong with a connection string. It only looks for known phrases in pgx's error and quotes
// nothing of it, because it may contain a piece of a password.
func parseReason(err error) string {
	parseErr, ok := errors.AsType[*pgconn.ParseConfigError](err)
	if !ok {
		return "it cannot be parsed"
	}
	// The text is "cannot parse `URL`: reason", and there is no other way to the reason.
	masked := pgconn.NewParseConfigError(parseErr.ConnString, "", nil).Error()
	reason := err.Error()[len(masked):]
	if strings.Contains(reason, "percent-encoded") { // a % that escapes nothing, or a space
		return "in user and password, write % as %25 and a space as %20"
	}
	for _, known := range []string{
		"invalid port", "invalid keyword/value", "unterminated quoted string",
		"connect_timeout", "min_protocol_version", "max_protocol_version", "channel_binding", "require_auth",
		"target_session_attrs", "sslmode", "sslcertmode", "sslnegotiation", "sslkey", "sslcert", "sslpassword", "CA file",
		"service", "pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime_jitter",
		"pool_max_conn_lifetime", "pool_max_conn_idle_time", "pool_health_check_period", "pool_ping_timeout",
	} {
		if strings.Contains(reason, known) {
			if strings.HasPrefix(known, "in") || strings.HasPrefix(known, "un") {
				return known
			}
			return "invalid " + known
		}
	}
	return "it cannot be parsed"
}
