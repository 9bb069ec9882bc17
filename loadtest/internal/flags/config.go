package flags

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// Defaults of flags that depend on the mode.
const (
	timedRequests    = 50_000 // -n with -t, as in ab
	openClients      = 1000   // -c with -rate or -find-max
	openDuration     = 10 * time.Second
	stepDuration     = 5 * time.Second // of each step of -find-max
	interleavedRuns  = 5               // -repeat with the URL of a server to compare with
	originalRequests = 10_000          // the benchmark in the original's README
	originalClients  = 100
)

// maxCPUs is the highest -cpus, to reject typing errors.
const maxCPUs = 1024

// Values of -transport.
const (
	HTTP1   = "http1"
	NetHTTP = "net/http"
)

// Stdout is the file name that stands for stdout.
const Stdout = "-"

// Original is the value of -compare that stands for the figures in the original's README.
const Original = "original"

// A Config is a parsed command line.
type Config struct {
	Command []string // the command line, without secrets
	Ignored []string // flags of ab that were given and have no effect, e.g. "-r"
	Notes   []string // messages about the flags for stderr, one line each

	// URL is the scheme, user and host of the target; nil with Reference, until the server runs. RequestTarget is the path
	// and query, exactly as given.
	URL           *url.URL
	RequestTarget string

	// Reference means that no URL was given: measure the reference server, run in this process.
	Reference bool

	Requests  int64         // NoRequestLimit if only the duration ends a closed loop; no meaning in an open loop
	Clients   int           // in an open loop, the maximum
	TimeLimit time.Duration // 0: none
	Timeout   time.Duration // per request
	KeepAlive bool
	AnyLength bool
	Header    http.Header
	Method    string
	Quiet     bool
	CSV       string // file name; "" means none
	Gnuplot   string // file name; "" means none
	Verbosity int

	PostFile, PutFile string // names of the file with the body; "" means none
	Body              []byte // of each request, if it is not in a file; nil means none
	ContentType       string
	Proxy             *url.URL // nil means none; with user and password
	ProxyAuth         string   // USER:PASSWORD

	TargetsFile string // name of the file with several requests; "" means none
	Insecure    bool   // do not verify the server's certificate
	CACert      string // file name of additional certificates to verify it with; "" means none
	Cert, Key   string // file names of the client certificate and its key; Key is "" if Cert has it
	UnixSocket  string // path; "" means TCP

	DisableHTTP2 bool // use HTTP/1.1 for https

	Rate     *attack.Rate  // nil for a closed loop
	Duration time.Duration // of the open loop, or of each step of a search
	FindMax  bool
	SLO      []slo.Clause
	SLOText  string // SLO as given, with the clauses that were added

	Verify     contract.Mode
	Files      []string // to merge
	Assertions []slo.Clause
	JSON, HTML string // file names; "" means none
	Compare    string // file name, Original or URL; "" means none
	Repeat     int
	Metrics    string // host:port to serve Prometheus metrics at; "" means none

	// CompareURL and CompareTarget are URL and RequestTarget of the server to compare with; nil if Compare is no URL.
	CompareURL    *url.URL
	CompareTarget string
	Transport     string // HTTP1 or NetHTTP
	CPUs          int    // 0 means half if the server is on this machine, otherwise all
}

// OpenLoop reports whether requests are sent on a schedule instead of after the previous response.
func (cfg *Config) OpenLoop() bool { return cfg.Rate != nil || cfg.FindMax }

// TransportName describes the transport in the results.
func (cfg *Config) TransportName() string {
	if cfg.DisableHTTP2 {
		return cfg.Transport + " without HTTP/2"
	}
	return cfg.Transport
}

// NoRequestLimit is Config.Requests of a closed loop that only its duration ends.
const NoRequestLimit = math.MaxInt64

// Port returns the port of the URL, or the default port of its scheme.
func (cfg *Config) Port() string {
	return cmp.Or(cfg.URL.Port(), map[string]string{"http": "80", "https": "443"}[cfg.URL.Scheme])
}

// BodyFile returns the name of the file with the body of each request; "" if there is none.
func (cfg *Config) BodyFile() string { return cmp.Or(cfg.PostFile, cfg.PutFile) }

// HasBody reports whether requests have a body.
func (cfg *Config) HasBody() bool { return cfg.Body != nil || cfg.BodyFile() != "" }

// ComparesOld reports whether an assertion refers to the runs of -compare.
func (cfg *Config) ComparesOld() bool {
	return slices.ContainsFunc(cfg.Assertions, func(c slo.Clause) bool { return c.IsRelative() })
}

// setDefaults sets the fields whose default depends on other flags. given holds the names of the flags on the command
// line.
func (cfg *Config) setDefaults(given map[string]bool) {
	cfg.setBody(given)
	cfg.setLoad(given)
	if cfg.Reference && !cfg.OpenLoop() && cfg.Compare == "" {
		cfg.Compare = Original
	}
	if !given["repeat"] {
		cfg.Repeat = 1
		if cfg.CompareURL != nil {
			cfg.Repeat = interleavedRuns
		}
	}
	if cfg.Transport == "" {
		cfg.Transport = HTTP1
		if cfg.URL != nil && cfg.URL.Scheme == "https" {
			cfg.Transport = NetHTTP
		}
	}
	cfg.limitErrors()
	if (cfg.Method == http.MethodHead || cfg.TargetsFile != "") && cfg.Verify == contract.Auto {
		cfg.Verify = contract.Off
	}
}

// setLoad sets Clients, Requests, Duration and TimeLimit.
func (cfg *Config) setLoad(given map[string]bool) {
	open := cfg.OpenLoop()
	switch {
	case open && !given["c"]:
		cfg.Clients = openClients
	case !open && cfg.Reference && !given["c"]:
		if !given["n"] {
			cfg.Requests = originalRequests
		}
		cfg.Clients = int(min(originalClients, cfg.Requests))
	}
	switch {
	case given["n"]:
	case given["duration"]:
		cfg.Requests = NoRequestLimit
	case cfg.TimeLimit > 0:
		cfg.Requests = timedRequests
	}
	if given["duration"] && !open && cfg.Duration > 0 {
		cfg.TimeLimit = cfg.Duration
	}
	if !given["duration"] {
		cfg.Duration = openDuration
		if cfg.FindMax {
			cfg.Duration = stepDuration
		}
	}
}

// limitErrors adds a limit on errors to the SLO of a search, or to the assertions on a run, unless they have one.
func (cfg *Config) limitErrors() {
	if !cfg.FindMax {
		cfg.Assertions = slo.WithErrorLimit(cfg.Assertions)
		return
	}
	given := len(cfg.SLO)
	cfg.SLO = slo.WithErrorLimit(cfg.SLO)
	for _, added := range cfg.SLO[given:] {
		cfg.SLOText += "," + added.String()
	}
}

// validate returns an error for the first rule that the flags break.
func (cfg *Config) validate(given map[string]bool) error {
	open := cfg.OpenLoop()
	if err := cmp.Or(validateRequest(given), cfg.needsURL(given)); err != nil {
		return err
	}
	switch {
	case cfg.Requests < 1:
		return fmt.Errorf("-n must be at least 1, got %d", cfg.Requests)
	case cfg.Clients < 1 || cfg.Clients > math.MaxUint16:
		return fmt.Errorf("-c must be from 1 to %d, got %d", math.MaxUint16, cfg.Clients)
	case !open && int64(cfg.Clients) > cfg.Requests:
		return cfg.tooManyClients(given["n"])
	case cfg.Transport != HTTP1 && cfg.Transport != NetHTTP:
		return fmt.Errorf("-transport must be %s or %s, got %q", HTTP1, NetHTTP, cfg.Transport)
	case cfg.Transport == HTTP1 && cfg.URL != nil && cfg.URL.Scheme == "https":
		return fmt.Errorf("-transport must be %s for an https URL, got %s: for HTTP/1.1 use -http2=false", NetHTTP, HTTP1)
	case open && (given["n"] || given["t"]):
		return errors.New("-n and -t cannot be used with -rate or -find-max: use -duration")
	case given["t"] && given["duration"]:
		return errors.New("-t and -duration cannot be used together: -t stops the run and implies -n 50000; " +
			"the timeout of a request is -s")
	case cfg.Duration <= 0:
		return fmt.Errorf("-duration must be above 0, got %v", cfg.Duration)
	case cfg.CPUs < 0 || cfg.CPUs > maxCPUs:
		return fmt.Errorf("-cpus must be from 1 to %d, or 0 to choose, got %d", maxCPUs, cfg.CPUs)
	case !isMethod(cfg.Method) && isMethod(strings.ToUpper(cfg.Method)):
		return fmt.Errorf("-m %s: methods are case-sensitive: use -m %s", cfg.Method, strings.ToUpper(cfg.Method))
	case !httpguts.ValidHeaderFieldName(cfg.Method): // a method is a token, as a header name is (RFC 9110)
		return fmt.Errorf("-m must be a method such as GET, got %q", cfg.Method)
	case len(cfg.Header.Values("Authorization")) > 1:
		return errors.New("-A and -H must not set more than one Authorization header together")
	}
	if cfg.Rate != nil && !cfg.FindMax {
		if _, err := attack.NewSchedule(*cfg.Rate, cfg.Duration); err != nil {
			return fmt.Errorf("-rate: %w", err)
		}
	}
	for _, validate := range []func() error{
		cfg.validateSearch, cfg.validateComparison, cfg.validateServer, cfg.validateFiles,
	} {
		if err := validate(); err != nil {
			return err
		}
	}
	return nil
}

// tooManyClients returns the error for more clients than requests.
func (cfg *Config) tooManyClients(requestsGiven bool) error {
	err := fmt.Errorf("-c must be at most -n (%d), got %d", cfg.Requests, cfg.Clients)
	if cfg.Requests == 1 && !requestsGiven {
		return fmt.Errorf("%w; -n is 1 by default: add -n N or -duration D", err)
	}
	return err
}

// validateSearch rejects what -find-max cannot do.
func (cfg *Config) validateSearch() error {
	switch {
	case cfg.FindMax && cfg.SLOText == "":
		return errors.New("-find-max needs -slo, e.g. -slo 'p99<50ms,errors<0.1%'")
	case !cfg.FindMax && cfg.SLOText != "":
		return errors.New("-slo needs -find-max: to check a single run, use -assert")
	case slices.ContainsFunc(cfg.SLO, func(c slo.Clause) bool { return c.IsRelative() }):
		return errors.New("-slo cannot have old: use -assert to compare the result")
	case cfg.FindMax && cfg.notUpperBound() != "":
		return fmt.Errorf("-slo needs upper bounds, got %s: use -assert to check the result", cfg.notUpperBound())
	case cfg.FindMax && cfg.Rate != nil && cfg.Rate.From < 1:
		return fmt.Errorf("-rate must be at least 1 with -find-max, got %v", cfg.Rate)
	case cfg.FindMax && cfg.Rate != nil && cfg.Rate.From != cfg.Rate.To:
		return fmt.Errorf("-rate must be constant with -find-max, got the ramp %v", cfg.Rate)
	}
	return nil
}

// validateComparison rejects comparisons without something to compare with.
func (cfg *Config) validateComparison() error {
	switch {
	case cfg.ComparesOld() && cfg.Compare == "":
		return errors.New("-assert with old needs -compare")
	case cfg.ComparesOld() && cfg.Compare == Original:
		return errors.New("-assert with old needs runs on the same machine, not the figures of the original")
	case cfg.CompareURL != nil && (cfg.Reference || cfg.FindMax || cfg.TargetsFile != "" || cfg.UnixSocket != ""):
		return errors.New("-compare with the URL of an old server needs the URL of a new one, and cannot be used with " +
			"-find-max, -targets or -unix-socket")
	case cfg.CompareURL != nil && cfg.CompareURL.Scheme != cfg.URL.Scheme:
		return errors.New("-compare: both servers must have the same scheme")
	case cfg.Repeat < 1:
		return fmt.Errorf("-repeat must be at least 1, got %d", cfg.Repeat)
	case cfg.FindMax && cfg.Repeat > 1:
		return errors.New("-repeat cannot be used with -find-max")
	}
	return nil
}

// validateServer rejects flags that do not fit the URL or the transport.
func (cfg *Config) validateServer() error {
	https := cfg.URL != nil && cfg.URL.Scheme == "https"
	switch {
	case (cfg.Insecure || cfg.CACert != "" || cfg.Cert != "" || cfg.DisableHTTP2) && !https:
		return errors.New("-insecure, -cacert, -cert (or -E) and -http2=false need an https URL")
	case cfg.Key != "" && cfg.Cert == "":
		return errors.New("-key needs -cert, the file of its certificate")
	case cfg.UnixSocket != "" && cfg.Proxy != nil:
		return errors.New("-unix-socket and -X cannot be used together")
	}
	return nil
}

// needsURL returns an error if a flag needs a URL and there is none.
func (cfg *Config) needsURL(given map[string]bool) error {
	if !cfg.Reference {
		return nil
	}
	for _, flag := range []string{"targets", "unix-socket", "X", "p", "u", "data"} {
		if given[flag] {
			return fmt.Errorf("-%s needs the server's URL as the last argument", flag)
		}
	}
	return nil
}

// validateRequest rejects combinations of flags that describe more than one request.
func validateRequest(given map[string]bool) error {
	switch {
	case given["i"] && given["m"]:
		return errors.New("-i and -m cannot be used together: -i is -m HEAD")
	case given["p"] && given["u"]:
		return errors.New("-p and -u cannot be used together: one is POST, the other PUT")
	case given["data"] && (given["p"] || given["u"]):
		return errors.New("-data cannot be used with -p or -u: each of them sets the body")
	case given["i"] && (given["p"] || given["u"] || given["data"]):
		return errors.New("-i cannot be used with -p, -u or -data: HEAD has no body")
	case given["targets"] && (given["i"] || given["m"] || given["p"] || given["u"] || given["data"]):
		return errors.New("-targets cannot be used with -i, -m, -p, -u or -data: the file has methods and bodies")
	}
	return nil
}

// notUpperBound returns the first clause of the SLO that is not an upper bound; "" if all are.
func (cfg *Config) notUpperBound() string {
	for _, c := range cfg.SLO {
		if !c.IsUpperBound() {
			return c.String()
		}
	}
	return ""
}
