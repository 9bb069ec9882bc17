package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Each setting has a type that validates its values, as a flag.TextVar and as a field of package env.

// An Address is where to listen: a host:port, in which an empty host means all interfaces and port 0 any free port, or
// unix: and the path of a Unix socket, to which | and the mode of the socket can be added.
type Address string

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(text []byte) error {
	const rule = "must be host:port, such as 127.0.0.1:4000 or :4000, or unix: and an absolute path, " +
		"such as unix:/run/points.sock"
	if strings.ContainsFunc(string(text), isSpaceOrControl) {
		return errors.New(rule)
	}
	if path, mode, ok := Address(text).Unix(); ok {
		switch {
		case !strings.HasPrefix(path, "/"):
			return errors.New(rule)
		case mode == 0:
			return errors.New("must end with the mode of the socket in octal digits, such as unix:/run/points.sock|0660")
		}
		*a = Address(text)
		return nil
	}
	_, port, err := net.SplitHostPort(string(text))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New(rule)
	}
	*a = Address(text)
	return nil
}

// Unix returns the path and the permissions of the Unix socket to listen on; the permissions are 0 if they are invalid.
// ok is false if the address is a host:port.
func (a Address) Unix() (path string, mode fs.FileMode, ok bool) {
	path, ok = strings.CutPrefix(string(a), "unix:")
	path, digits, given := strings.Cut(path, "|")
	if !given {
		return path, defaultSocketMode, ok
	}
	bits, err := strconv.ParseUint(digits, 8, 32)
	if err != nil || bits > uint64(fs.ModePerm) {
		bits = 0
	}
	return path, fs.FileMode(bits), ok
}

// defaultSocketMode lets the user and the group of the server connect.
const defaultSocketMode fs.FileMode = 0o660

func isSpaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a), nil }

// An Instance is the name of a server: letters, digits, dots, hyphens and underscores. So it cannot be a connection
// string that was given by mistake.
type Instance string

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Instance) UnmarshalText(text []byte) error {
	if len(text) > maxInstance || !instanceName.Match(text) {
		return fmt.Errorf("must have at most %d letters, digits, dots, hyphens and underscores", maxInstance)
	}
	*i = Instance(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (i Instance) MarshalText() ([]byte, error) { return []byte(i), nil }

const maxInstance = 100 // bytes, as in points.Config.Instance

var instanceName = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

// OrDefault returns i or, if it is empty, the host name and a random suffix: process IDs repeat in containers.
func (i Instance) OrDefault() Instance {
	if i != "" {
		return i
	}
	suffix := fmt.Sprintf("-%08x", rand.Uint32())
	host, err := os.Hostname()
	name := Instance(host[:min(len(host), maxInstance-len(suffix))])
	if err != nil || name == "" || !instanceName.MatchString(string(name)) {
		name = "server"
	}
	return name + Instance(suffix)
}

// A Schema is the name of a schema, or empty. Its characters exclude a connection string that was given by mistake.
type Schema string

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Schema) UnmarshalText(text []byte) error {
	const limit = 63 // bytes, as in pgstore.Config
	if len(text) > limit || !identifier.Match(text) {
		return fmt.Errorf("must have at most %d bytes: letters, digits, _, $ and -", limit)
	}
	*s = Schema(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Schema) MarshalText() ([]byte, error) { return []byte(s), nil }

// A Table is the name of a table, without its schema.
type Table string

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Table) UnmarshalText(text []byte) error {
	const limit = 51 // bytes, as in pgstore.Config
	if len(text) == 0 || len(text) > limit || !identifier.Match(text) {
		return fmt.Errorf("must have 1 to %d bytes: letters, digits, _, $ and - (-schema sets the schema)", limit)
	}
	*t = Table(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (t Table) MarshalText() ([]byte, error) { return []byte(t), nil }

var identifier = regexp.MustCompile(`^[\p{L}\p{N}_$-]*$`)

// Users is a number of users: 0 or more.
type Users int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Users) UnmarshalText(text []byte) error {
	value, err := strconv.ParseInt(string(text), 10, 64)
	switch {
	case err != nil:
		return errors.New("must be a whole number")
	case value < 0:
		return errors.New("must be at least 0")
	}
	*n = Users(value)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (n Users) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

// MaxWaiting is the limit of the wait queue: 1 or more.
type MaxWaiting int

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *MaxWaiting) UnmarshalText(text []byte) (err error) {
	*n, err = atLeastOne(*n, text)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (n MaxWaiting) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

// MaxConnections is the limit of open connections: 1 or more.
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

// atLeastOne returns the number in text, or before and an error.
func atLeastOne[T ~int](before T, text []byte) (T, error) {
	value, err := strconv.Atoi(string(text))
	switch {
	case err != nil:
		return before, errors.New("must be a whole number")
	case value < 1:
		return before, errors.New("must be at least 1")
	}
	return T(value), nil
}

// A Secret is a token for clients. It is printed as "(hidden)".
type Secret string

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(text []byte) error {
	const least = 16
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	switch {
	case len(text) > 0 && len(text) < least:
		return errors.New("must have at least 16 characters")
	case strings.ContainsFunc(string(text), unprintable),
		strings.TrimSpace(string(text)) != string(text): // invalid in a header
		return errors.New("must have printable ASCII characters only, and no space or newline at either end")
	}
	*s = Secret(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler: it returns what String does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns "(hidden)", or "" if there is none.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString returns what String does, for %#v.
func (s Secret) GoString() string { return s.String() }

// maxDuration is the maximum of all durations, ten years. Small multiples of it do not overflow.
const maxDuration = 10 * 365 * 24 * time.Hour

// A Duration is a time.Duration of at least a millisecond and at most ten years. It is written as Go does (1m30s) or in
// whole milliseconds (90000).
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := parseDuration(text)
	if err == nil && value < time.Millisecond {
		err = errors.New("must be at least 1ms")
	}
	if err == nil {
		*d = Duration(value)
	}
	return err
}

func parseDuration(text []byte) (time.Duration, error) {
	unit := ""
	if _, err := strconv.Atoi(string(text)); err == nil {
		unit = "ms"
	}
	value, err := time.ParseDuration(string(text) + unit)
	switch {
	case err != nil:
		return 0, errors.New("must be a duration such as 1m30s, or a number of milliseconds")
	case value > maxDuration:
		return 0, fmt.Errorf("must be at most %v", maxDuration)
	}
	return value, nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// A Delay is a time.Duration of 0 or more, written like a [Duration].
type Delay time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Delay) UnmarshalText(text []byte) error {
	value, err := parseDuration(text)
	if err == nil && value < 0 {
		err = errors.New("must be at least 0")
	}
	if err == nil {
		*d = Delay(value)
	}
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Delay) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Origins is a comma-separated list of the origins of web pages, such as https://a.example, or * for all.
type Origins string

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Origins) UnmarshalText(text []byte) error {
	for _, origin := range Origins(text).List() {
		if origin == "*" {
			continue
		}
		if !isOrigin(origin) {
			return errors.New("must be origins such as https://a.example,https://b.example:8443, " +
				"without path or default port, or *")
		}
	}
	*o = Origins(text)
	return nil
}

// isOrigin reports whether browsers can send an origin: they leave out the default port, and encode other characters
// than ASCII. The package of the CORS handler would take a * in it as any text.
func isOrigin(origin string) bool {
	const defaultHTTP, defaultHTTPS = ":80", ":443"
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" || !originHost.MatchString(u.Host) || origin != u.Scheme+"://"+u.Host {
		return false
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return false
		}
	}
	switch u.Scheme {
	case "http":
		return !strings.HasSuffix(u.Host, defaultHTTP)
	case "https":
		return !strings.HasSuffix(u.Host, defaultHTTPS)
	default: // such as chrome-extension
		return u.Scheme != ""
	}
}

var originHost = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?$`)

// MarshalText implements encoding.TextMarshaler.
func (o Origins) MarshalText() ([]byte, error) { return []byte(o), nil }

// List returns the origins; nil if there are none.
func (o Origins) List() []string {
	if o == "" {
		return nil
	}
	return strings.Split(string(o), ",")
}

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
