// Package flags parses the command line of loadtest into a [Config] and holds its help text.
//
//	cfg, err := flags.Parse([]string{"-n", "10000", "-c", "100", "http://127.0.0.1:4000/"})
//
// A new flag is defined in [Parse]'s parser, gets a field in Config, and a line in usage.go.
package flags

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// ErrVersion is the error for -version.
var ErrVersion = errors.New("version requested")

// Parse parses the arguments after the program's name. As in ab, one-letter flags can be bundled and numbers attached:
// -kc10. Other flags may have one dash or two. The error is [pflag.ErrHelp] for -h, [ErrVersion] for
// -version, and otherwise one line that names the flag, the rule, and what was given.
func Parse(args []string) (*Config, error) {
	if len(args) > 0 && args[0] == "run" {
		return nil, k6Error(args[1:])
	}
	cfg := &Config{
		Requests: 1, Clients: 1, Timeout: 30 * time.Second, KeepAlive: true,
		Header: http.Header{}, Method: http.MethodGet, Command: []string{"loadtest"},
	}
	p := newParser(cfg)
	p.define(cfg)
	if err := p.parse(args); err != nil {
		return nil, err
	}
	positional := p.positional(args)
	if err := cmp.Or(p.rateError(args, positional), commandError(positional), checkOrder(positional, "URL")); err != nil {
		return nil, err
	}
	if len(positional) == 0 && p.tookURL {
		return nil, fmt.Errorf("-%s needs a value before the URL", p.last)
	}
	if err := cfg.setURL(positional); err != nil {
		return nil, err
	}
	for _, arg := range positional {
		cfg.Command = append(cfg.Command, redactURL(arg))
	}
	p.ignoreRequests()
	cfg.setDefaults(p.given)
	return cfg, cfg.validate(p.given)
}

// ParseMerge parses the arguments of "loadtest merge": flags for the output, and the files to merge.
func ParseMerge(args []string) (*Config, error) {
	cfg := &Config{Command: []string{"loadtest", "merge"}}
	p := newParser(cfg)
	p.merge = true
	p.defineOutput(cfg)
	if err := p.parse(args); err != nil {
		return nil, err
	}
	cfg.Files = p.positional(args)
	if err := checkOrder(cfg.Files, "files"); err != nil {
		return nil, err
	}
	if len(cfg.Files) == 0 {
		return nil, errors.New("merge needs the -json files of runs at the same time")
	}
	cfg.Command = append(cfg.Command, cfg.Files...)
	cfg.limitErrors()
	return cfg, cfg.validateFiles()
}

func newParser(cfg *Config) *parser {
	p := &parser{set: pflag.NewFlagSet("loadtest", pflag.ContinueOnError), cfg: cfg, given: map[string]bool{}}
	p.set.SetOutput(io.Discard)
	p.set.Usage = func() {}
	p.set.SetInterspersed(false)
	for _, name := range []string{"version", "V"} {
		p.boolean(name, func(on bool) { p.version = on })
	}
	return p
}

// A parser wraps a FlagSet. All its errors have the same form, and it records the command line without secrets.
type parser struct {
	set     *pflag.FlagSet
	cfg     *Config
	given   map[string]bool // flags on the command line
	bareD   bool            // the last flag was -d without a value
	timedZ  bool            // -z was a duration, as in hey and oha
	last    string          // the last flag
	tookURL bool            // the value of the last flag looks like a URL instead
	version bool
	merge   bool // the flags are those of "loadtest merge"
}

// bare is the value that pflag sets for a boolean flag without one.
const bare = "true"

func (p *parser) parseFlags(args []string) error {
	args, err := p.normalize(args)
	if err != nil {
		return err
	}
	err = p.set.ParseAll(args, p.setFlag)
	if noValue, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("-%s needs a value (-h lists the flags)", noValue.GetFlag().Name)
	}
	return err
}

// positional returns the positional arguments as given, before normalize changed them.
func (p *parser) positional(args []string) []string { return args[len(args)-p.set.NArg():] }

// setFlag sets a flag to the value on the command line, and records it.
func (p *parser) setFlag(f *pflag.Flag, value string) error {
	p.given[f.Name], p.bareD, p.last = true, false, f.Name
	p.tookURL = isHTTPURL(value) && !slices.Contains([]string{"compare", "X", "d", "data"}, f.Name)
	p.cfg.Command = append(p.cfg.Command, redactFlag(f, value)...)
	if isFreeText(f.Name) {
		if err := f.Value.Set(value); err != nil {
			return fmt.Errorf("-%s %w", f.Name, err)
		}
		return nil
	}
	err := f.Value.Set(value)
	isURL := maskPassword(value) != value // a URL with a password: the value of the flag is missing
	switch {
	case isFile(f.Name) && strings.Contains(value, "://"):
		return fmt.Errorf("-%s needs a file before the URL, got %q", f.Name, maskPassword(value))
	case isURL && (err != nil || strings.Contains(value, "://") && f.Name != "compare"):
		return fmt.Errorf("-%s needs a value before the URL, got %q", f.Name, maskPassword(value))
	case err != nil:
		return fmt.Errorf("-%s %w", f.Name, err)
	}
	return nil
}

// isHTTPURL reports whether text begins like the URL of a server.
func isHTTPURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// isFreeText reports whether the value of a flag may be any text, even a URL with a password.
func isFreeText(flag string) bool {
	return slices.Contains([]string{"H", "A", "C", "P", "X", "d", "data"}, flag)
}

// value defines a flag with an argument.
func (p *parser) value(name string, set func(string) error) {
	p.set.FuncP(name, shorthand(name), "", set)
}

// text defines a flag with a text.
func (p *parser) text(name string, to *string) {
	p.nonEmpty(name, func(s string) { *to = s })
}

// nonEmpty defines a flag whose value must not be empty: an empty one is usually an unset shell variable.
func (p *parser) nonEmpty(name string, set func(string)) {
	p.value(name, func(s string) error {
		if s == "" {
			return errors.New("needs a value, got an empty one")
		}
		set(s)
		return nil
	})
}

// output defines a flag for a file to write.
func (p *parser) output(name string, to *string) {
	p.nonEmpty(name, func(s string) {
		switch s {
		case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1": // opened again, it would be truncated
			s = Stdout
		}
		*to = s
	})
}

// boolean defines a flag that may be given without an argument.
func (p *parser) boolean(name string, set func(on bool)) {
	p.set.BoolFuncP(name, shorthand(name), "", func(s string) error {
		on, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("must be true or false, got %q", s)
		}
		set(on)
		return nil
	})
}

// shorthand returns the name of a one-letter flag, which can be bundled; "" for other flags.
func shorthand(name string) string {
	if len(name) > 1 {
		return ""
	}
	return name
}

// define binds the flags to cfg.
func (p *parser) define(cfg *Config) {
	p.value("n", integer(&cfg.Requests))
	p.value("c", integer(&cfg.Clients))
	p.value("t", seconds(&cfg.TimeLimit))
	p.value("s", seconds(&cfg.Timeout))
	p.boolean("k", func(on bool) { cfg.KeepAlive = on })
	p.boolean("l", func(on bool) { cfg.AnyLength = on })
	p.value("H", cfg.addHeader)
	p.value("A", cfg.setBasicAuth)
	p.value("C", cfg.addCookie)
	p.text("m", &cfg.Method)
	p.boolean("i", func(on bool) {
		if on {
			cfg.Method = http.MethodHead
		}
	})
	p.text("p", &cfg.PostFile)
	p.text("u", &cfg.PutFile)
	p.value("data", p.setData)
	p.set.BoolFuncP("d", "d", "", p.setD)
	p.text("T", &cfg.ContentType)
	p.value("X", cfg.setProxy)
	p.text("P", &cfg.ProxyAuth)
	p.value("v", integer(&cfg.Verbosity))
	p.boolean("q", func(on bool) { cfg.Quiet = on })
	p.output("g", &cfg.Gnuplot)
	p.defineOutput(cfg)
	p.defineLoop(cfg)
	p.value("metrics", cfg.setMetrics)
	p.value("repeat", integer(&cfg.Repeat))
	p.defineServer(cfg)
	p.defineIgnored(cfg)

	p.boolean("verify", func(on bool) {
		cfg.Verify = contract.Off
		if on {
			cfg.Verify = contract.On
		}
	})
	p.text("transport", &cfg.Transport)
	p.value("cpus", integer(&cfg.CPUs))
}

// defineOutput binds the flags for the evaluation and output of results.
func (p *parser) defineOutput(cfg *Config) {
	p.output("e", &cfg.CSV)
	p.value("assert", func(s string) error {
		clauses, err := slo.Parse(s)
		cfg.Assertions = append(cfg.Assertions, clauses...)
		return err
	})
	p.output("json", &cfg.JSON)
	p.output("html", &cfg.HTML)
	p.text("compare", &cfg.Compare)
}

// defineLoop binds the flags of open loops and of closed loops for a duration.
func (p *parser) defineLoop(cfg *Config) {
	p.value("rate", func(s string) error {
		rate, err := attack.ParseRate(s)
		cfg.Rate = &rate
		return err
	})
	p.value("duration", duration(&cfg.Duration))
	p.value("z", func(s string) error {
		if strings.IndexAny(s, "0123456789.+-") == 0 { // a duration, as in hey and oha; ab's attributes begin with a letter
			p.given["duration"], p.timedZ = true, true
			return duration(&cfg.Duration)(s)
		}
		cfg.Ignored = append(cfg.Ignored, "-z") // ab's table attributes
		return nil
	})
	p.boolean("find-max", func(on bool) { cfg.FindMax = on })
	p.value("slo", func(s string) (err error) {
		cfg.SLOText = s
		cfg.SLO, err = slo.Parse(s)
		return err
	})
}

// defineServer binds -targets and the flags for the connection to the server.
func (p *parser) defineServer(cfg *Config) {
	p.text("targets", &cfg.TargetsFile)
	p.boolean("insecure", func(on bool) { cfg.Insecure = on })
	p.text("cacert", &cfg.CACert)
	p.text("cert", &cfg.Cert)
	p.text("E", &cfg.Cert) // ab's name
	p.text("key", &cfg.Key)
	p.boolean("http2", func(on bool) { cfg.DisableHTTP2 = !on })
	p.text("unix-socket", &cfg.UnixSocket)
}

// defineIgnored defines flags of ab that have no effect, because they have no meaning here.
func (p *parser) defineIgnored(cfg *Config) {
	for _, name := range []string{"r", "S", "w", "I"} {
		p.boolean(name, func(on bool) {
			if on {
				cfg.Ignored = append(cfg.Ignored, "-"+name)
			}
		})
	}
	for _, name := range []string{"x", "y", "b", "f", "Z"} {
		p.value(name, func(value string) error {
			if name == "x" && isProxy(value) {
				return errors.New("is ab's, for table attributes: use -X for a proxy")
			}
			cfg.Ignored = append(cfg.Ignored, "-"+name)
			return nil
		})
	}
}

func integer[T int | int64](to *T) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, strconv.IntSize)
		if err != nil {
			return fmt.Errorf("must be a whole number, got %q", s)
		}
		*to = T(n)
		return nil
	}
}

// seconds accepts a number of seconds, as ab does, or a duration with a unit.
func seconds(to *time.Duration) func(string) error {
	const most = 1e9
	return func(s string) error {
		n, err := strconv.ParseFloat(s, 64)
		switch {
		case err != nil:
			*to, err = time.ParseDuration(s)
		case n > 0 && n <= most: // false for NaN
			*to = time.Duration(n * float64(time.Second))
		default:
			*to = 0
		}
		if err != nil || *to <= 0 {
			return fmt.Errorf("must be a number of seconds above 0, got %q", s)
		}
		return nil
	}
}

func duration(to *time.Duration) func(string) error {
	return func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("must be a duration such as 30s, got %q", s)
		}
		*to = d
		return nil
	}
}

func (cfg *Config) addHeader(s string) error {
	name, value, ok := strings.Cut(s, ":")
	if !ok {
		first, _, _ := strings.Cut(strings.Join(strings.Fields(s), " "), " ") // the rest may be a secret
		return fmt.Errorf("must have the form 'Name: value', got %q and no colon", first)
	}
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if err := transport.CheckHeader(name, value); err != nil {
		return fmt.Errorf("has a header that cannot be sent: %w", err)
	}
	cfg.Header.Add(name, value)
	return nil
}

// The errors of setBasicAuth and addCookie do not quote the value: it is a secret.

func (cfg *Config) setBasicAuth(s string) error {
	if !strings.Contains(s, ":") {
		return errors.New("must have the form USER:PASSWORD; for an Accept header use -H 'Accept: TYPE'")
	}
	cfg.Header.Add("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(s)))
	return nil
}

// addCookie adds to the Cookie header, because a request must have only one.
func (cfg *Config) addCookie(s string) error {
	if !strings.Contains(s, "=") {
		return errors.New("must have the form NAME=VALUE")
	}
	if before := cfg.Header.Get("Cookie"); before != "" {
		s = before + "; " + s
	}
	cfg.Header.Set("Cookie", s)
	return nil
}

// setProxy accepts ab's HOST:PORT, or a URL.
func (cfg *Config) setProxy(s string) error {
	if isMethod(s) { // curl's -X
		return fmt.Errorf("must have the form HOST:PORT, got %q: for a method use -m %s", s, s)
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.RequestURI() != "/" {
		return fmt.Errorf("must have the form HOST:PORT, got %q", maskPassword(s))
	}
	cfg.Proxy = u
	return nil
}

// isMethod reports whether text is a common method in capital letters.
func isMethod(s string) bool {
	return slices.Contains([]string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions,
	}, s)
}

// setMetrics accepts the HOST:PORT to listen on.
func (cfg *Config) setMetrics(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return fmt.Errorf("must have the form HOST:PORT, e.g. 127.0.0.1:9464, got %q", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("must have a port from 0 to 65535, got %q", s)
	}
	cfg.Metrics = s
	return nil
}

// setBody sets the method, the Content-Type header and the proxy's credentials from -p, -u, -data, -T and -P.
func (cfg *Config) setBody(given map[string]bool) {
	if (cfg.PostFile != "" || cfg.Body != nil) && !given["m"] {
		cfg.Method = http.MethodPost
	}
	if cfg.PutFile != "" && !given["m"] {
		cfg.Method = http.MethodPut
	}
	if cfg.HasBody() && cfg.Header.Get("Content-Type") == "" {
		cfg.Header.Set("Content-Type", cmp.Or(cfg.ContentType, "text/plain")) // as in ab
	}
	if cfg.Proxy != nil && cfg.ProxyAuth != "" {
		user, password, _ := strings.Cut(cfg.ProxyAuth, ":")
		cfg.Proxy.User = url.UserPassword(user, password)
	}
}
