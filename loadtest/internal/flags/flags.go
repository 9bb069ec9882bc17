// Package flags parses the command line of loadtest into a [Config] and holds its help text.
//
//	cfg, err := flags.Parse([]string{"-n", "10000", "-c", "100", "http://127.0.0.1:4000/"})
//
// A new flag is defined in [Parse]'s parser, gets a field in Config, and a line in usage.go.
package flags

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// Parse parses the arguments after the program's name. The error is [flag.ErrHelp] for -h, and otherwise one line that
// names the flag, the rule, and what was given.
func Parse(args []string) (*Config, error) {
	cfg := &Config{
		Requests: 1, Clients: 1, Timeout: 30 * time.Second, KeepAlive: true,
		Header: http.Header{}, Method: http.MethodGet,
	}
	p := parser{set: flag.NewFlagSet("loadtest", flag.ContinueOnError)}
	p.set.SetOutput(io.Discard)
	p.set.Usage = func() {}
	p.define(cfg)
	if err := p.parse(args); err != nil {
		return nil, err
	}
	given := map[string]bool{}
	p.set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if err := p.rejectURLs(); err != nil {
		return nil, err
	}
	if given["i"] && given["m"] {
		return nil, errors.New("-i and -m cannot be used together: -i is -m HEAD")
	}
	cfg.Command = append([]string{"loadtest"}, redactArgs(args, len(args)-p.set.NArg())...)
	if err := cfg.setURL(p.set.Args()); err != nil {
		return nil, err
	}
	cfg.setDefaults(given)
	return cfg, cfg.validate(given)
}

// A parser wraps a FlagSet to give all errors the same form.
type parser struct {
	set *flag.FlagSet
	err error // of the flag that failed
}

func (p *parser) parse(args []string) error {
	err := p.set.Parse(args)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return err
	case p.err != nil:
		return p.err
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: "); ok {
		return fmt.Errorf("unknown flag %s (-h lists the flags)", name)
	}
	return fmt.Errorf("%w (-h lists the flags)", err)
}

// value defines a flag with an argument.
func (p *parser) value(name string, set func(string) error) {
	p.set.Func(name, "", p.keepError(name, set))
}

// boolean defines a flag that may be given without an argument.
func (p *parser) boolean(name string, set func(on bool)) {
	p.set.BoolFunc(name, "", p.keepError(name, func(s string) error {
		on, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("must be true or false, got %q", s)
		}
		set(on)
		return nil
	}))
}

func (p *parser) keepError(name string, set func(string) error) func(string) error {
	return func(s string) error {
		err := set(s)
		switch {
		case err == nil:
			return nil
		case maskPassword(s) != s && name != "H" && name != "A" && name != "C":
			p.err = valueIsURL(name, s)
		default:
			p.err = fmt.Errorf("-%s %w", name, err)
		}
		return p.err
	}
}

// rejectURLs rejects a URL with a password as the value of a flag that accepts any text. Later errors would quote it.
func (p *parser) rejectURLs() (err error) {
	p.set.Visit(func(f *flag.Flag) {
		if s := f.Value.String(); err == nil && strings.Contains(s, "://") && maskPassword(s) != s {
			err = valueIsURL(f.Name, s)
		}
	})
	return err
}

// valueIsURL reports that the value of a flag was omitted before the URL.
func valueIsURL(name, s string) error {
	return fmt.Errorf("-%s needs a value before the URL, got %q", name, maskPassword(s))
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
	p.set.StringVar(&cfg.Method, "m", cfg.Method, "")
	p.boolean("i", func(on bool) {
		if on {
			cfg.Method = http.MethodHead
		}
	})
	p.boolean("q", func(on bool) { cfg.Quiet = on })
	p.set.StringVar(&cfg.CSV, "e", "", "")
	for _, name := range []string{"r", "S", "d"} {
		p.boolean(name, func(on bool) {
			if on {
				cfg.Ignored = append(cfg.Ignored, "-"+name)
			}
		})
	}

	p.value("rate", func(s string) error {
		rate, err := attack.ParseRate(s)
		cfg.Rate = &rate
		return err
	})
	p.value("duration", duration(&cfg.Duration))
	p.boolean("find-max", func(on bool) { cfg.FindMax = on })
	p.value("slo", func(s string) (err error) {
		cfg.SLOText = s
		cfg.SLO, err = slo.Parse(s)
		return err
	})
	p.boolean("verify", func(on bool) {
		cfg.Verify = contract.Off
		if on {
			cfg.Verify = contract.On
		}
	})
	p.value("assert", func(s string) error {
		clauses, err := slo.Parse(s)
		cfg.Assertions = append(cfg.Assertions, clauses...)
		return err
	})
	p.set.StringVar(&cfg.JSON, "json", "", "")
	p.set.StringVar(&cfg.HTML, "html", "", "")
	p.set.StringVar(&cfg.Compare, "compare", "", "")
	p.set.StringVar(&cfg.Transport, "transport", "", "")
	p.value("cpus", integer(&cfg.CPUs))
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
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 32)
		*to = time.Duration(n) * time.Second
		if err != nil {
			*to, err = time.ParseDuration(s)
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
	cfg.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

// The errors of setBasicAuth and addCookie do not quote the value: it is a secret.

func (cfg *Config) setBasicAuth(s string) error {
	if !strings.Contains(s, ":") {
		return errors.New("must have the form USER:PASSWORD")
	}
	cfg.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(s)))
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
