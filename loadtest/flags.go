package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/attack"
	"github.com/pointsapp/pointsapp/loadtest/contract"
	"github.com/pointsapp/pointsapp/loadtest/promise"
)

const (
	timedRequests = 50_000 // what ab -t implies
	openClients   = 1000   // the most clients of an open loop, unless -c says another
	openDuration  = 10 * time.Second
	stepDuration  = 5 * time.Second // of each rate that -find-max tries
	seedRequests  = 10_000          // the benchmark of the seed's README
	seedClients   = 100
)

// A config is what the flags say.
type config struct {
	command []string
	url     *url.URL // nil until the reference server has been started

	reference bool // there was no URL: the reference server in this process

	requests  int64
	clients   int
	timeLimit time.Duration // 0: none
	timeout   time.Duration
	keepAlive bool
	anyLength bool
	header    http.Header
	method    string
	quiet     bool
	csv       string

	rate     *attack.Rate // nil: a closed loop
	duration time.Duration
	findMax  bool
	promise  []promise.Clause
	slo      string

	verify     contract.Mode
	assertions []promise.Clause
	json, html string
	compare    string // "seed" is the seed's README
	transport  string
	cpus       int // 0: as many as seem right
}

const (
	lean     = "lean"
	standard = "net/http"
)

// parseFlags reads the command line. Its error is flag.ErrHelp for -h, and otherwise one line that tells what is wrong.
func parseFlags(args []string) (*config, error) {
	cfg := &config{command: append([]string{"loadtest"}, args...), header: http.Header{}}
	f := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	head := cfg.define(f)
	if err := f.Parse(args); err != nil {
		return nil, hint(err)
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if *head {
		if given["m"] {
			return nil, errors.New("-i asks for HEAD, and -m for another method: give one of them")
		}
		cfg.method = http.MethodHead
	}
	if err := cfg.setURL(f.Args()); err != nil {
		return nil, err
	}
	cfg.setDefaults(given)
	return cfg, cfg.check(given)
}

// hint adds to an error what helps.
func hint(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	return fmt.Errorf("%w (-h lists the flags)", err)
}

// define binds the flags to cfg. The result is -i.
func (cfg *config) define(f *flag.FlagSet) (head *bool) {
	cfg.timeout = 30 * time.Second
	f.Int64Var(&cfg.requests, "n", 1, "")
	f.IntVar(&cfg.clients, "c", 1, "")
	f.Func("t", "", seconds(&cfg.timeLimit))
	f.Func("s", "", seconds(&cfg.timeout))
	f.BoolVar(&cfg.keepAlive, "k", true, "")
	f.BoolVar(&cfg.anyLength, "l", false, "")
	f.Func("H", "", cfg.addHeader)
	f.StringVar(&cfg.method, "m", http.MethodGet, "")
	f.BoolVar(&cfg.quiet, "q", false, "")
	head = f.Bool("i", false, "")
	f.StringVar(&cfg.csv, "e", "", "")

	f.Func("rate", "", func(s string) error {
		rate, err := attack.ParseRate(s)
		cfg.rate = &rate
		return err
	})
	f.DurationVar(&cfg.duration, "duration", 0, "")
	f.BoolVar(&cfg.findMax, "find-max", false, "")
	f.Func("slo", "", func(s string) (err error) {
		cfg.slo = s
		cfg.promise, err = promise.Parse(s)
		return err
	})
	f.BoolFunc("verify", "", func(s string) error {
		on, err := strconv.ParseBool(s)
		cfg.verify = contract.Off
		if on {
			cfg.verify = contract.On
		}
		return err
	})
	f.Func("assert", "", func(s string) error {
		clauses, err := promise.Parse(s)
		cfg.assertions = append(cfg.assertions, clauses...)
		return err
	})
	f.StringVar(&cfg.json, "json", "", "")
	f.StringVar(&cfg.html, "html", "", "")
	f.StringVar(&cfg.compare, "compare", "", "")
	f.StringVar(&cfg.transport, "transport", "", "")
	f.IntVar(&cfg.cpus, "cpus", 0, "")
	return head
}

// seconds reads whole seconds, as ab, or a duration with a unit.
func seconds(d *time.Duration) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 32)
		*d = time.Duration(n) * time.Second
		if err != nil {
			*d, err = time.ParseDuration(s)
		}
		if err != nil || *d <= 0 {
			return errors.New("it takes a number of seconds above 0")
		}
		return nil
	}
}

func (cfg *config) addHeader(s string) error {
	name, value, ok := strings.Cut(s, ":")
	if !ok {
		return errors.New("a header is written as 'Name: value'")
	}
	cfg.header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

// setURL takes the one argument that is no flag. As for ab, http:// may be missing.
func (cfg *config) setURL(args []string) error {
	if len(args) == 0 {
		cfg.reference = true
		return nil
	}
	if len(args) > 1 {
		return fmt.Errorf("one URL, and it comes after the flags: %q follows it", args[1])
	}
	s := args[0]
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is no URL: write it as http://host:port/path", args[0])
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q is no port of a URL: %s", port, args[0])
		}
	}
	if u.Path == "" {
		u.Path = "/"
	}
	cfg.url = u
	return nil
}

// setDefaults fills in what was not given and depends on something else.
func (cfg *config) setDefaults(given map[string]bool) {
	open := cfg.rate != nil || cfg.findMax
	switch {
	case open && !given["c"]:
		cfg.clients = openClients
	case !open && cfg.reference && !given["c"]:
		cfg.clients = seedClients
		if !given["n"] {
			cfg.requests = seedRequests
		}
	}
	if cfg.timeLimit > 0 && !given["n"] {
		cfg.requests = timedRequests
	}
	if cfg.duration == 0 {
		cfg.duration = openDuration
		if cfg.findMax {
			cfg.duration = stepDuration
		}
	}
	if cfg.reference && !open && cfg.compare == "" {
		cfg.compare = "seed"
	}
	if cfg.transport == "" {
		cfg.transport = lean
		if cfg.url != nil && cfg.url.Scheme == "https" {
			cfg.transport = standard
		}
	}
	if cfg.method == http.MethodHead && cfg.verify == contract.Auto {
		cfg.verify = contract.Off
	}
}

// check tells what is wrong with the flags that are read.
func (cfg *config) check(given map[string]bool) error {
	open := cfg.rate != nil || cfg.findMax
	switch {
	case cfg.requests < 1:
		return fmt.Errorf("-n is at least 1: %d", cfg.requests)
	case cfg.clients < 1 || cfg.clients > math.MaxUint16:
		return fmt.Errorf("-c is 1 to %d: %d", math.MaxUint16, cfg.clients)
	case !open && int64(cfg.clients) > cfg.requests:
		return fmt.Errorf("-c %d is more clients than the %d requests of -n", cfg.clients, cfg.requests)
	case cfg.transport != lean && cfg.transport != standard:
		return fmt.Errorf("-transport is %s or %s: %q", lean, standard, cfg.transport)
	case cfg.transport == lean && cfg.url != nil && cfg.url.Scheme == "https":
		return fmt.Errorf("-transport %s speaks no https: use -transport %s", lean, standard)
	case open && (given["n"] || given["t"]):
		return errors.New("-n and -t are for a number of clients: with -rate or -find-max, use -duration")
	case !open && given["duration"]:
		return errors.New("-duration needs -rate or -find-max: for a number of clients, use -t")
	case cfg.duration < 0:
		return fmt.Errorf("-duration is above 0: %v", cfg.duration)
	case cfg.findMax && cfg.slo == "":
		return errors.New("-find-max needs the promise to keep: -slo 'p99<50ms,errors<0.1%'")
	case !cfg.findMax && cfg.slo != "":
		return errors.New("-slo needs -find-max: to judge one run, use -assert")
	case cfg.findMax && cfg.rate != nil && cfg.rate.From != cfg.rate.To:
		return errors.New("-find-max begins with one rate: -rate is no ramp then")
	case cfg.cpus < 0:
		return fmt.Errorf("-cpus is at least 1: %d", cfg.cpus)
	}
	return nil
}

// title is the first line of the report: what the run does, and what that means for its times.
func (cfg *config) title() string {
	switch {
	case cfg.findMax:
		return fmt.Sprintf("This is loadtest, in search of the highest rate that keeps %s: each rate is an open loop of %v.",
			cfg.slo, cfg.duration)
	case cfg.rate != nil:
		return fmt.Sprintf("This is loadtest, open loop: %v requests per second for %v, sent when due whether answers\n"+
			"come or not. Latency counts from when a request was due, so that one that had to wait for its turn shows it.",
			cfg.rate, cfg.duration)
	default:
		return fmt.Sprintf("This is loadtest, closed loop as ab: %s.\n"+
			"Times count from when a request was sent.", cfg.clientsInWords())
	}
}

func (cfg *config) clientsInWords() string {
	if cfg.clients == 1 {
		return "1 client, which sends when it has its answer"
	}
	return fmt.Sprintf("%d clients, each of which sends when it has its answer", cfg.clients)
}
