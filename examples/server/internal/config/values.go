package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Each setting has a type that knows the rule for its values, so that a flag and an environment variable are held to
// the same one. They are what package flag wants of TextVar, and package env of a field.

// An Address is host:port, to listen on. An empty host is every interface; port 0 is any free port.
type Address string

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be host:port, such as 127.0.0.1:4000 or :4000")
	}
	*a = Address(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a), nil }

// A DatabaseURL is a connection string of PostgreSQL, a URL or keywords and values; empty for none. Whatever prints
// it prints it without its passwords.
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

// String returns the user, host, port and database that the connection string comes to, together with PostgreSQL's
// own environment variables.
func (u DatabaseURL) String() string {
	if u == "" {
		return ""
	}
	cfg, err := u.PoolConfig()
	if err != nil {
		return "(malformed)"
	}
	c := cfg.ConnConfig
	return fmt.Sprintf("postgres://%s@%s/%s", c.User, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), c.Database)
}

// GoString returns what String does, for %#v.
func (u DatabaseURL) GoString() string { return u.String() }

// PoolConfig returns the configuration of a pool of connections to the database. Its error has no piece of the connection string.
func (u DatabaseURL) PoolConfig() (*pgxpool.Config, error) {
	const form = "must look like postgres://user:password@host:5432/database: "
	if u.isAmbiguous() {
		return nil, errors.New(form + "in user and password, @ / ? and # are written %40 %2F %3F and %23")
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

// parseReason returns what is wrong with a connection string. The text of pgx's error may quote a piece of a password:
// only whether it has one of these phrases counts.
func parseReason(err error) string {
	parseErr, ok := errors.AsType[*pgconn.ParseConfigError](err)
	if !ok {
		return "it cannot be parsed"
	}
	// The text is "cannot parse `URL`: reason", and there is no other way to the reason.
	masked := pgconn.NewParseConfigError(parseErr.ConnString, "", nil).Error()
	reason := err.Error()[len(masked):]
	for _, known := range []string{
		"invalid port", "invalid userinfo", "invalid URL escape", "invalid keyword/value", "unterminated quoted string",
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

// Users is a number of users: 0 or more.
type Users int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Users) UnmarshalText(text []byte) error {
	value, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || value < 0 {
		return errors.New("must be a whole number, 0 or more")
	}
	*n = Users(value)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (n Users) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

// MaxWaiting is how many queries may wait: 1 or more.
type MaxWaiting int

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *MaxWaiting) UnmarshalText(text []byte) (err error) {
	*n, err = atLeastOne(*n, text)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (n MaxWaiting) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

// MaxConnections is how many connections may be open: 1 or more.
type MaxConnections int

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *MaxConnections) UnmarshalText(text []byte) (err error) {
	*n, err = atLeastOne(*n, text)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (n MaxConnections) MarshalText() ([]byte, error) {
	return strconv.AppendInt(nil, int64(n), 10), nil
}

// atLeastOne returns the number that text is, or before if it is none.
func atLeastOne[T ~int](before T, text []byte) (T, error) {
	value, err := strconv.Atoi(string(text))
	if err != nil || value < 1 {
		return before, errors.New("must be a whole number, 1 or more")
	}
	return T(value), nil
}

// A Secret is a token that a client has to know. Whatever prints it prints that there is one.
type Secret string

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(text []byte) error {
	const least = 16
	if len(text) > 0 && len(text) < least {
		return errors.New("must have at least 16 characters")
	}
	*s = Secret(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler: it returns what String does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns whether there is one.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString returns what String does, for %#v.
func (s Secret) GoString() string { return s.String() }

// A Duration is a time.Duration of at least a millisecond. It is written as Go does (1m30s) or in whole milliseconds
// (90000).
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	unit := ""
	if _, err := strconv.Atoi(string(text)); err == nil {
		unit = "ms"
	}
	value, err := time.ParseDuration(string(text) + unit)
	if err != nil || value < time.Millisecond {
		return errors.New("must be a duration such as 1m30s, or whole milliseconds, and at least 1ms")
	}
	*d = Duration(value)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// A LogFormat is text or json.
type LogFormat string

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *LogFormat) UnmarshalText(text []byte) error {
	if string(text) != "text" && string(text) != "json" {
		return errors.New("must be text or json")
	}
	*f = LogFormat(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (f LogFormat) MarshalText() ([]byte, error) { return []byte(f), nil }

// A LogLevel is the least level that is logged: debug, info, warn or error.
type LogLevel slog.Level

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LogLevel) UnmarshalText(text []byte) error {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(level.String(), string(text)) {
			*l = LogLevel(level)
			return nil
		}
	}
	return errors.New("must be debug, info, warn or error")
}

// MarshalText implements encoding.TextMarshaler.
func (l LogLevel) MarshalText() ([]byte, error) {
	return []byte(strings.ToLower(slog.Level(l).String())), nil
}
