package flags

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{"-n 10 -c 2 http://x/", "-rate 5:6 -duration 3s x:80", "-H a:b -t 5 -s 1s -k=false localhost", "-find-max -slo p99<1s x", "-kc10 -p f -X p:1 x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cfg, err := Parse(strings.Fields(line))
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.GreaterOrEqual(t, cfg.Clients, 1)
		if !cfg.Reference {
			require.NotEmpty(t, cfg.URL.Hostname())
			require.NotEmpty(t, cfg.Port())
		}
	})
}

// TestReferenceDefaults tests command lines without a URL.
func TestReferenceDefaults(t *testing.T) {
	for line, want := range map[string]struct {
		requests int64
		clients  int
	}{
		"":           {10_000, 100},
		"-n 500":     {500, 100},
		"-n 10":      {10, 10},
		"-n 10 -c 5": {10, 5},
		"-t 1":       {50_000, 100},
	} {
		cfg, err := Parse(strings.Fields(line))
		require.NoError(t, err, line)
		assert.True(t, cfg.Reference, line)
		assert.Equal(t, want.requests, cfg.Requests, line)
		assert.Equal(t, want.clients, cfg.Clients, line)
	}
}

// TestFlagForms checks the forms of flags that ab and Go programs accept.
func TestFlagForms(t *testing.T) {
	for line, check := range map[string]func(*Config) bool{
		"-c10 -n100 x":        func(c *Config) bool { return c.Clients == 10 && c.Requests == 100 },
		"-kc 10 -n=100 x":     func(c *Config) bool { return c.Clients == 10 && c.KeepAlive },
		"-klqc10 -n 100 x":    func(c *Config) bool { return c.Clients == 10 && c.AnyLength && c.Quiet },
		"--n 5 x":             func(c *Config) bool { return c.Requests == 5 },
		"-k=false x":          func(c *Config) bool { return !c.KeepAlive },
		"-t 0.5 x":            func(c *Config) bool { return c.TimeLimit == 500*time.Millisecond },
		"-t2 -s1m x":          func(c *Config) bool { return c.TimeLimit == 2*time.Second && c.Timeout == time.Minute },
		"-rate 5 x":           func(c *Config) bool { return c.Rate != nil },
		"--rate=5 x":          func(c *Config) bool { return c.Rate != nil },
		"-verify=false x":     func(c *Config) bool { return c.Verify == contract.Off },
		"-H a:b -H -rate:c x": func(c *Config) bool { return c.Header.Get("-Rate") == "c" },
		"-p f x": func(c *Config) bool {
			return c.Method == http.MethodPost && c.Header.Get("Content-Type") == "text/plain"
		},
		"-p f -T a/b -m PATCH x": func(c *Config) bool { return c.Method == http.MethodPatch && c.Header.Get("Content-Type") == "a/b" },
		"-d {} x": func(c *Config) bool {
			return string(c.Body) == "{}" && c.Method == http.MethodPost && len(c.Ignored) == 0
		},
		"-q -d {} -n 5 x":   func(c *Config) bool { return string(c.Body) == "{}" && c.Requests == 5 && c.Quiet },
		"-d={} -m PUT x":    func(c *Config) bool { return string(c.Body) == "{}" && c.Method == http.MethodPut },
		"-data {} -T a/b x": func(c *Config) bool { return string(c.Body) == "{}" && c.Header.Get("Content-Type") == "a/b" },
		"-n 5 -d x": func(c *Config) bool {
			return c.Body == nil && c.URL.Host == "x" && slices.Equal(c.Ignored, []string{"-d"})
		},
		"-d -n 5 x":                  func(c *Config) bool { return c.Body == nil && c.Requests == 5 },
		"-u f x":                     func(c *Config) bool { return c.Method == http.MethodPut && c.BodyFile() == "f" },
		"http://[fe80::1%lo]:80/x":   func(c *Config) bool { return c.URL.Host == "[fe80::1%lo]:80" },
		"http://[fe80::1%25lo]:80/x": func(c *Config) bool { return c.URL.Host == "[fe80::1%lo]:80" },
		"-compare http://a:b@y x":    func(c *Config) bool { return c.Compare == "http://a:b@y" },
		"-i x":                       func(c *Config) bool { return c.Method == http.MethodHead },
		"-b red -H a:http://y x":     func(c *Config) bool { return c.Header.Get("A") == "http://y" },
		"-X p:8080 x":                func(c *Config) bool { return c.Proxy.Host == "p:8080" },
		"-z bgcolor=red x":           func(c *Config) bool { return slices.Equal(c.Ignored, []string{"-z"}) && c.Requests == 1 },
		"-z 1m -n 200 x":             func(c *Config) bool { return c.Requests == NoRequestLimit && len(c.Notes) == 1 },
		"-n 200 -z 1m -rate 5 x":     func(c *Config) bool { return c.Duration == time.Minute && len(c.Notes) == 1 },
		"-duration 1m -n 200 x":      func(c *Config) bool { return c.Requests == 200 && c.TimeLimit == time.Minute && len(c.Notes) == 0 },
		"-metrics :0 x":              func(c *Config) bool { return c.Metrics == ":0" },
		"http://version/":            func(c *Config) bool { return c.URL.Host == "version" },
		"-w -x border=0 -r -d x":     func(c *Config) bool { return slices.Equal(c.Ignored, []string{"-w", "-x", "-r", "-d"}) },
	} {
		cfg, err := Parse(strings.Fields(line))
		require.NoError(t, err, line)
		assert.True(t, check(cfg), line)
	}
}

func TestUsageErrors(t *testing.T) {
	for line, want := range map[string]string{
		"x -=y":                       "flags must come before the URL, got - after it",
		"x -é":                        "flags must come before the URL, got -é after it",
		"-kjn5 x":                     "unknown flag -kjn5 (-h lists the flags)",
		"-vus 10 x":                   "unknown flag -vus: use -c",
		"--vus=10 x":                  "unknown flag -vus: use -c",
		"-disable-keepalive x":        "unknown flag -disable-keepalive: use -k=false",
		"-q 50 x":                     "-q has no value here: use -rate for the rate of all clients together (hey's -q 50 is for each client)",
		"-n 200 -q 10 -c 2 x":         "-q has no value here: use -rate 20 for the rate of all clients together (hey's -q 10 for each of 2 clients)",
		"-c 4 -kq 0.5 -o csv x":       "-q has no value here: use -rate 2 for the rate of all clients together (hey's -q 0.5 for each of 4 clients)",
		"-z 2s -q 50 -o csv x":        "-q has no value here: use -rate for the rate of all clients together (hey's -q 50 is for each client)",
		"-q 10 -c=2 x":                "-q has no value here: use -rate 20 for the rate of all clients together (hey's -q 10 for each of 2 clients)",
		"-q -5 x":                     "unknown flag -5 (-h lists the flags)",
		"-q host x":                   `the URL must be the last argument, got "x" after it`,
		"-ramp 10:100 x":              "unknown flag -ramp: use -rate 10:100 -duration 1m for a ramp from 10 to 100 requests per second",
		"-ramp-up 5s x":               "unknown flag -ramp-up: use -rate 10:100 -duration 1m for a ramp from 10 to 100 requests per second",
		"-threshold p95<200ms x":      "unknown flag -threshold: use -assert",
		"-concurrency 10 x":           "unknown flag -concurrency: use -c",
		"-requests=100 x":             "unknown flag -requests: use -n",
		"-c 50 x":                     "-c must be at most -n (1), got 50; -n is 1 by default: add -n N or -duration D",
		"-n 1 -c 50 x":                "-c must be at most -n (1), got 50",
		"-rate 50 -targets t.txt":     "-targets needs the server's URL as the last argument",
		"-unix-socket s":              "-unix-socket needs the server's URL as the last argument",
		"-X p:1":                      "-X needs the server's URL as the last argument",
		"-n 5 -H http://x/":           "-H needs a value before the URL",
		"-kA http://x/":               "-A needs a value before the URL",
		"-C http://x/?a=b":            "-C needs a value before the URL",
		"-T https://x/":               "-T needs a value before the URL",
		"-b http://x/":                "-b needs a value before the URL",
		"-X POST x":                   `-X must have the form HOST:PORT, got "POST": for a method use -m POST`,
		"-A a:b -H Authorization:c x": "-A and -H must not set more than one Authorization header together",
		"-H Authorization:c -A a:b x": "-A and -H must not set more than one Authorization header together",
		"-p f":                        "-p needs the server's URL as the last argument",
		"-n 5 -a b:c x":               "unknown flag -a: use -A",
		"--no-tui x":                  "unknown flag -no-tui: use -q",
		"-timeout 5s -rate 5/s x":     "unknown flag -timeout: use -s",
		"-nosuch x":                   "unknown flag -nosuch (-h lists the flags)",
		"--nosuch x":                  "unknown flag -nosuch (-h lists the flags)",
		"-n":                          "-n needs a value (-h lists the flags)",
		"-json":                       "-json needs a value (-h lists the flags)",
		"-t2 -c10 -d30s x":            `-d must be a body, got "30s": use -duration 30s`,
		"-c 10 -d 30s x":              `-d must be a body, got "30s": use -duration 30s`,
		"-i -d {} x":                  "-i cannot be used with -p, -u or -data: HEAD has no body",
		"-d {} -n 500":                "-data needs the server's URL as the last argument",
		"-p a -data {} x":             "-data cannot be used with -p or -u: each of them sets the body",
		"-d 30 x":                     `-d must be a body, got "30": use -duration 30s, or -data 30 for this body`,
		"-H content-length:5 x":       "-H has a header that cannot be sent: the body determines header content-length: leave it out",
		"-H Transfer-Encoding:x x":    "-H has a header that cannot be sent: the body determines header Transfer-Encoding: leave it out",
		"-H a/b:c x":                  `-H has a header that cannot be sent: a header name must be an HTTP token, got "a/b"`,
		"-H a:SECRET\x00 x":           "-H has a header that cannot be sent: the value of header a must not have control characters",
		"--no-connection-reuse x":     "unknown flag -no-connection-reuse: use -k=false",
		"-insecure-skip-tls-verify x": "unknown flag -insecure-skip-tls-verify: use -insecure",
		"-p a -u b x":                 "-p and -u cannot be used together: one is POST, the other PUT",
		"-ip a x":                     "-i cannot be used with -p, -u or -data: HEAD has no body",
		"-X https://p x":              `-X must have the form HOST:PORT, got "https://p"`,
		"-X b:SECRET@ x":              `-X must have the form HOST:PORT, got "http://b:xxxxx@"`,
		"-t -1 x":                     `-t must be a number of seconds above 0, got "-1"`,
		"-t 1e300 x":                  `-t must be a number of seconds above 0, got "1e300"`,
		"-t NaN x":                    `-t must be a number of seconds above 0, got "NaN"`,
		"-rate 0.5 -duration 300ms x": "-rate: no request is due within 300ms at 0.5/s: use a longer duration or a higher rate",
		"-m post x":                   "-m post: methods are case-sensitive: use -m POST",
		"-m Get x":                    "-m Get: methods are case-sensitive: use -m GET",
		"-d @body.json -n 5 x":        "-d must be a body, got one that begins with @: use -p FILE to send a file, or -data for this body",
		"-d=@body.json x":             "-d must be a body, got one that begins with @: use -p FILE to send a file, or -data for this body",
		"bombardier -c 5 http://x/":   "unknown command bombardier: leave it out, e.g. loadtest -n 1000 -c 10 URL; for a server of that name use http://bombardier/",
		"foo http://x/":               "unknown command foo: leave it out, e.g. loadtest -n 1000 -c 10 URL; for a server of that name use http://foo/",
		"start -n 5 https://x/":       "unknown command start: leave it out, e.g. loadtest -n 1000 -c 10 URL; for a server of that name use http://start/",
		"post http://x/":              "unknown command post: use -m POST; for a server of that name use http://post/",
		"http://a/ http://b/":         `the URL must be the last argument, got "http://b/" after it`,
		"a.b http://x/":               `the URL must be the last argument, got "http://x/" after it`,
		"localhost -n 5":              "flags must come before the URL, got -n after it",
		"-m a/b x":                    `-m must be a method such as GET, got "a/b"`,
		"-cpus 1025 x":                "-cpus must be from 1 to 1024, or 0 to choose, got 1025",
		"-find-max -slo p99>1s x":     "-slo needs upper bounds, got p99>1s: use -assert to check the result",
		"-z 10 x":                     `-z must be a duration such as 30s, got "10"`,
		"-z 10min x":                  `-z must be a duration such as 30s, got "10min"`,
		"-B 10.0.0.1 x":               "unknown flag -B: the local address cannot be chosen: the system's routes determine it",
		"-R200 x":                     "unknown flag -R: use -rate",
		"-h2c x":                      "unknown flag -h2c: HTTP/2 needs an https URL",
		"x -json f":                   "flags must come before the URL, got -json after it",
		"x --json=f":                  "flags must come before the URL, got --json after it",
		"x -kc5":                      "flags must come before the URL, got -kc5 after it",
		"x -Abob:SECRET":              "flags must come before the URL, got -A after it",
		"-metrics bad x":              `-metrics must have the form HOST:PORT, e.g. 127.0.0.1:9464, got "bad"`,
		"-metrics h: x":               `-metrics must have the form HOST:PORT, e.g. 127.0.0.1:9464, got "h:"`,
		"-metrics h:99999 x":          `-metrics must have a port from 0 to 65535, got "h:99999"`,
		"version":                     "unknown command version: use -version; for a server of that name use http://version/",
		"help":                        "unknown command help: use -h; for a server of that name use http://help/",
		"-q plot r.bin":               "unknown command plot: use -html FILE for a page with charts; for a server of that name use http://plot/",
		"-verify=maybe x":             `-verify must be true or false, got "maybe"`,
	} {
		_, err := Parse(strings.Fields(line))
		require.EqualError(t, err, want, line)
	}
}

func TestVersion(t *testing.T) {
	for _, line := range []string{"-version", "--version", "-V", "-n 0 -V"} {
		_, err := Parse(strings.Fields(line))
		require.ErrorIs(t, err, ErrVersion, line)
	}
	_, err := ParseMerge([]string{"-V"})
	require.ErrorIs(t, err, ErrVersion)
	_, err = ParseMerge([]string{"a.json", "b.json", "-json", "m.json"})
	require.EqualError(t, err, "flags must come before the files, got -json after it")
}

// TestMistypedFlags tests flags that begin with a letter of ab's flags: none may be taken for that flag.
func TestMistypedFlags(t *testing.T) {
	for line, want := range map[string]string{
		"-htlm r.html -assert p99<50ms x": "unknown flag -htlm: did you mean -html? (-h lists the flags)",
		"-hmtl=r.html x":                  "unknown flag -hmtl: did you mean -html? (-h lists the flags)",
		"--htlm r.html x":                 "unknown flag -htlm: did you mean -html? (-h lists the flags)",
		"-HTML r.html x":                  "unknown flag -HTML: did you mean -html? (-h lists the flags)",
		"-findmax -n 3 x":                 "unknown flag -findmax: did you mean -find-max? (-h lists the flags)",
		"-vresion":                        "unknown flag -vresion: did you mean -version? (-h lists the flags)",
		"-Version":                        "unknown flag -Version: did you mean -version? (-h lists the flags)",
		"-asert p99<1s x":                 "unknown flag -asert: did you mean -assert? (-h lists the flags)",
		"-http3 x":                        "unknown flag -http3: HTTP/3 is not supported",
		"-http1.1 x":                      "unknown flag -http1.1: use -http2=false",
		"-hosts x y":                      "unknown flag -hosts (-h lists the flags)",
		"-help-me x":                      "unknown flag -help-me (-h lists the flags)",
		"-help=me x":                      "-help has no value",
		"-hk x":                           "unknown flag -hk (-h lists the flags)",
		"-kh x":                           "unknown flag -kh (-h lists the flags)",
		"-kV x":                           "unknown flag -kV: write -k -V",
		"-fail-on-error -n 3 x":           "unknown flag -fail-on-error (-h lists the flags)",
		"-budget=p99<1us -n 3 x":          "unknown flag -budget (-h lists the flags)",
		"-exit-on-fail -n 3 x":            "unknown flag -exit-on-fail (-h lists the flags)",
		"-name x y":                       "unknown flag -name (-h lists the flags)",
		"-lazy x":                         "unknown flag -lazy (-h lists the flags)",
		"-warmup 5s x":                    "unknown flag -warmup (-h lists the flags)",
		"-kill x":                         "unknown flag -kill (-h lists the flags)",
		"-test.v x":                       "unknown flag -test.v (-h lists the flags)",
		"-krc 10 x":                       "unknown flag -krc: write -k -r -c",
		"-qd {} x":                        "unknown flag -qd: write -q -d",
		"-pbody.json x":                   "-p needs a space before its value: write -p FILE",
		"-keout.csv x":                    "-e needs a space before its value: write -e FILE",
		"-Ta/b x":                         "-T needs a space before its value: write -T TYPE",
		"-fTLS1.2 x":                      "-f needs a space before its value: write -f VALUE",
		"-mPATCH x":                       "unknown flag -mPATCH (-h lists the flags; -m needs a space before its value)",
		"-b1000 x":                        "unknown flag -b1000 (-h lists the flags)",
		"-c10x y":                         `-c must be a whole number, got "10x"`,
		"-= x":                            "unknown flag - (-h lists the flags)",
		"-é x":                            "unknown flag -é (-h lists the flags)",
		"--json -n 10 x":                  "-json needs a file, got -n",
		"-json -htlm r.html x":            "-json needs a file, got -htlm",
		"-n -c 10 x":                      "-n needs a value, got -c",
		"-H -n 10 x":                      "-H needs a value, got -n",
		"x -htlm r.html":                  "flags must come before the URL, got -htlm after it",
	} {
		_, err := Parse(strings.Fields(line))
		require.EqualError(t, err, want, line)
	}
	_, err := ParseMerge([]string{"-htlm", "x.html", "m1.json"})
	require.EqualError(t, err, "unknown flag -htlm: did you mean -html? (-h lists the flags)")
}

// TestValuesWithDashes tests values that are no flags although they begin like one.
func TestValuesWithDashes(t *testing.T) {
	cfg, err := Parse([]string{"-data", "-verbose", "-H", "-rate: c", "-json=-n", "-html", "-", "x"})
	require.NoError(t, err)
	assert.Equal(t, "-verbose", string(cfg.Body))
	assert.Equal(t, "c", cfg.Header.Get("-Rate"))
	assert.Equal(t, []string{"-n", "-"}, []string{cfg.JSON, cfg.HTML})
}

// TestHelp checks the only forms that print the help.
func TestHelp(t *testing.T) {
	for _, line := range []string{"-h", "--h", "-help", "--help", "-n 5 -h", "-k -help x"} {
		_, err := Parse(strings.Fields(line))
		require.ErrorIs(t, err, pflag.ErrHelp, line)
	}
}

// TestAttack checks the commands that replace vegeta attack.
func TestAttack(t *testing.T) {
	for line, want := range map[string]string{
		"attack":                       "-rate 50 -duration 10s URL, with -targets FILE for vegeta's targets",
		"attack -rate=50 -duration=2s": "-rate 50 -duration 2s URL, with -targets FILE for vegeta's targets",
		"attack -lazy -rate 6000/m -targets t.txt": "-rate 6000/m -duration 10s -targets t.txt URL",
		"attack --rate=0 -name x -max-workers=5":   "-c 5 -duration 10s URL, with -targets FILE for vegeta's targets",
		"attack -body f -timeout 5s -insecure":     "-rate 50 -duration 10s -s 5s -p f -insecure URL, with -targets FILE for vegeta's targets",
		"attack -http2=false -cert c -key k -root-certs r": "-rate 50 -duration 10s -http2=false -cert c -key k -cacert r URL, " +
			"with -targets FILE for vegeta's targets",
		"attack -header Cookie:SECRET -rate=SECRET": "-duration 10s URL, with -targets FILE for vegeta's targets",
	} {
		_, err := Parse(strings.Fields(line))
		require.EqualError(t, err, "unknown command attack: use loadtest "+want+"; for a server of that name use http://attack/")
	}
}

// TestK6Outputs checks the flag that replaces each output of k6, and that no password is quoted.
func TestK6Outputs(t *testing.T) {
	for out, want := range map[string]string{
		"influxdb=http://bob:SECRET@host:8086/db": "-metrics ADDR URL (-metrics serves",
		"experimental-prometheus-rw":              "-metrics ADDR URL (-metrics serves",
		"statsd":                                  "-metrics ADDR URL (-metrics serves",
		"cloud":                                   "-json FILE URL;",
		"web-dashboard=export=x.html":             "-html FILE URL;",
		"json=r.json":                             "-json r.json URL;",
		"json=k6-metrics.json":                    "-json k6-metrics.json URL;",
	} {
		_, err := Parse([]string{"run", "--out", out, "script.js"})
		require.ErrorContains(t, err, "use loadtest "+want, out)
		assert.NotContains(t, err.Error(), "SECRET")
	}
}

// TestSuggestionForK6 parses the commands that errors suggest instead of k6's.
func TestSuggestionForK6(t *testing.T) {
	for line, want := range map[string]string{
		"script.js":                          "",
		"-u 5 script.js":                     "-c 5 -n 5",
		"-u 5 -i 20 script.js":               "-c 5 -n 20",
		"-u 5 -d 30s script.js":              "-c 5 -duration 30s",
		"-s 30s:10 -i 5 script.js":           "-rate FROM:TO -duration 30s",
		"--rps 10 -u 5 -i 5 script.js":       "-c 5 -rate 10",
		"--no-connection-reuse -u 5 x.js":    "-c 5 -n 5 -k=false",
		"--insecure-skip-tls-verify -q x.js": "-insecure -q",
	} {
		_, err := Parse(append([]string{"run"}, strings.Fields(line)...))
		require.ErrorContains(t, err, "use loadtest "+strings.TrimSpace(want+" URL"))
		_, err = Parse(append(strings.Fields(strings.Replace(want, "FROM:TO", "1:5", 1)), "https://x/"))
		require.NoError(t, err, want)
	}
}

// TestOutputReplacesInput uses the same file for an output and for something to read.
func TestOutputReplacesInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, args := range [][]string{
		{"-p", file, "-json", file, "http://x/"},
		{"-targets", file, "-e", file, "http://x/"},
		{"-compare", file, "-html", file, "http://x/"},
	} {
		_, err := Parse(args)
		require.ErrorContains(t, err, args[2]+" would replace "+file+": it is also the file of ")
	}
	_, err := ParseMerge([]string{"-html", file, file})
	require.EqualError(t, err, "-html would replace "+file+": it is also the file of the run")
	_, err = Parse([]string{"-compare", file, "-json", file, "http://x/"})
	require.NoError(t, err)
	cfg, err := Parse([]string{"-json", "/dev/stdout", "http://x/"})
	require.NoError(t, err)
	assert.Equal(t, Stdout, cfg.JSON)
}

// TestEmptyValues tests flags whose value is a variable of the shell that is not set.
func TestEmptyValues(t *testing.T) {
	for _, flag := range []string{"json", "html", "e", "g", "compare", "targets", "p", "cacert", "unix-socket", "m"} {
		_, err := Parse([]string{"-" + flag, "", "x"})
		require.EqualError(t, err, "-"+flag+" needs a value, got an empty one")
	}
}

// TestURLInPlaceOfFile tests flags whose file is missing, so that the URL is in its place.
func TestURLInPlaceOfFile(t *testing.T) {
	for _, flag := range []string{"json", "html", "e", "g", "targets", "p", "u", "cacert"} {
		_, err := Parse([]string{"-n", "5", "-" + flag, "http://bob:SECRET@host/"})
		require.EqualError(t, err, "-"+flag+` needs a file before the URL, got "http://bob:xxxxx@host/"`)
	}
}

// TestCommandHidesSecrets checks the command line in the reports, also for bundled flags.
func TestCommandHidesSecrets(t *testing.T) {
	cfg, err := Parse([]string{
		"-qkA", "bob:SECRET", "-C", "id=SECRET", "-H=Cookie: SECRET", "-P=bob:SECRET", "-X", "bob:SECRET@p:1", "-verify=false", "-n7", "-compare", "http://bob:SECRET@y/",
		"http://bob:SECRET@x/",
	})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"loadtest", "-q", "-k", "-A", "xxxxx", "-C", "xxxxx", "-H", "Cookie: xxxxx", "-P", "xxxxx", "-X", "bob:xxxxx@p:1",
		"-verify=false", "-n", "7", "-compare", "http://xxxxx@y/", "http://xxxxx@x/",
	}, cfg.Command)
	for _, args := range [][]string{{"-d", "SECRET", "x"}, {"-d=SECRET", "x"}, {"-data", "SECRET", "x"}} {
		cfg, err := Parse(args)
		require.NoError(t, err)
		assert.NotContains(t, strings.Join(cfg.Command, " "), "SECRET")
	}
	for _, header := range []string{"apikey", "x_api_key", "X-Accesstoken", "X-JWT-Assertion", "X-Auth", "X-Session-Id", "X-Amz-Signature"} {
		cfg, err := Parse([]string{"-H", header + ": SECRET", "http://SECRET@x/"})
		require.NoError(t, err)
		assert.NotContains(t, strings.Join(cfg.Command, " ")+cfg.RedactedURL(), "SECRET")
	}
}
