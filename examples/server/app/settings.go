package app

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
	_, err := u.parse()
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
	cfg, err := u.parse()
	if err != nil {
		return "(malformed)"
	}
	c := cfg.ConnConfig
	return fmt.Sprintf("postgres://%s@%s/%s", c.User, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), c.Database)
}

// GoString returns what String does, for %#v.
func (u DatabaseURL) GoString() string { return u.String() }

// quoted matches what an error of pgx quotes: it may be a piece of a password.
var quoted = regexp.MustCompile(`"[^"]{2,}"`)

// parse returns the pool's configuration. Its error does not repeat the connection string.
func (u DatabaseURL) parse() (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(string(u))
	if err == nil {
		return cfg, nil
	}
	reason := "cannot be parsed"
	if parseErr, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		// The text is "cannot parse `URL`: reason", and there is no other way to the reason.
		masked := pgconn.NewParseConfigError(parseErr.ConnString, "", nil).Error()
		reason = quoted.ReplaceAllLiteralString(err.Error()[len(masked):], `"..."`)
	}
	return nil, fmt.Errorf("must look like postgres://user:password@host:5432/database: %s", reason)
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
