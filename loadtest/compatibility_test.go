//go:build unix

package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A toolCommand is a command of ab, hey, vegeta, wrk2 or k6, and what loadtest does with its arguments.
type toolCommand struct {
	command string
	works   string // how it works, for README.md; "" if it fails
	err     string // on stderr
}

const (
	same          = "works"
	printsVersion = "prints the version"
)

// toolCommands returns the commands by tool, as in the tables of README.md.
func toolCommands() map[string][]toolCommand {
	const noScripts = "there are no scripts, flags describe the load, e.g. loadtest -n 1000 -c 10 URL"
	server := func(name string) string { return "; for a server of that name use http://" + name + "/" }
	const scripts, thresholds = "k6's scripts cannot be run: use loadtest ",
		"; -targets FILE sends several requests, and thresholds are -assert 'p95<200ms,failed<1%'"
	return map[string][]toolCommand{
		"ab": {
			{command: "ab -n 100 -c 10 -k URL", works: same},
			{command: "ab -kc 10 -t 1 URL", works: same},
			{command: "ab -n 100 -c 10 -p body.json -T application/json URL", works: same},
			{command: "ab -n 100 -c 10 -H 'Authorization: Bearer x' -H 'Accept-Encoding: gzip' URL", works: same},
			{command: "ab -n 100 -c 10 -r -s 60 -l URL", works: "works; -r has no effect: a failure never ends a run"},
			{command: "ab -n 100 -c 10 -g plot.tsv -e percentiles.csv URL", works: same},
			{command: "ab -n 100 -A bob:secret -C session=1 URL", works: same},
			{command: "ab -n 100 -c 10 -X PROXY URL", works: same},
			{command: "ab -i -n 100 -v 2 URL", works: same},
			{command: "ab -q -S -d -w -x border=1 -n 100 -c 10 URL", works: "works; -S -d -w -x have no effect"},
			{command: "ab -V", works: printsVersion},
			{command: "ab -z 'bgcolor=red' -n 100 URL", works: "works; -z has no effect"},
			{command: "ab -B 127.0.0.1 -n 100 URL", err: "unknown flag -B: the local address cannot be chosen: the system's routes determine it"},
			{command: "loadtest -E client.pem -insecure -n 100 HTTPS_URL", works: same},
			{command: "ab -n 10 -f TLS1.2 HTTPS_URL", err: "no request succeeded: tls: failed to verify certificate: x509: " +
				"certificate signed by unknown authority; use -cacert or -insecure"},
		},
		"hey": {
			{command: "hey -n 200 -c 50 URL", works: same},
			{command: "hey -z 1s -c 50 -m POST -d '{}' URL", works: same},
			{command: "hey -z 1s -c 5 -cpus 2 -T application/json -m PATCH -d '{}' URL", works: same},
			{command: "hey -z 1s -n 200 -c 50 URL", works: "works; -n has no effect with -z, as in hey"},
			{command: "hey -z 10 URL", err: `-z must be a duration such as 30s, got "10"`},
			{command: "hey URL -n 200", err: "flags must come before the URL, got -n after it"},
			{command: "oha --version", works: printsVersion},
			{command: "hey -n 200 -q 10 URL", err: "-q has no value here: use -rate for the rate of all clients together " +
				"(hey's -q 10 is for each client)"},
			{command: "hey -n 200 -q 10 -c 2 URL", err: "-q has no value here: use -rate 20 for the rate of all clients together " +
				"(hey's -q 10 for each of 2 clients)"},
			{command: "hey -c 50 URL", err: "-c must be at most -n (1), got 50; -n is 1 by default: add -n N or -duration D"},
			{command: "hey -n 200 -m PUT -D body.json URL", err: "unknown flag -D: use -p FILE, or -u FILE for PUT"},
			{command: "hey -n 200 -c 50 -disable-keepalive URL", err: "unknown flag -disable-keepalive: use -k=false"},
			{command: "hey -n 200 -o csv URL", err: "unknown flag -o: use -json FILE, -html FILE, -e FILE or -g FILE"},
			{command: "hey -n 200 -a bob:secret URL", err: "unknown flag -a: use -A"},
			{command: "hey -n 200 -A application/json URL", err: "-A must have the form USER:PASSWORD; for an Accept header use -H 'Accept: TYPE'"},
			{command: "hey -z 1s -t 5 URL", err: "-t and -duration cannot be used together: -t stops the run and implies " +
				"-n 50000; the timeout of a request is -s"},
			{command: "hey -n 200 -x http://PROXY URL", err: "-x is ab's, for table attributes: use -X for a proxy"},
			{command: "hey -n 200 -host example.com URL", err: "unknown flag -host: use -H 'Host: NAME'"},
			{command: "hey -n 200 -h2 HTTPS_URL", err: "unknown flag -h2: leave it out: with an https URL, " +
				"HTTP/2 is used if the server offers it"},
			{command: "hey -n 200 -m post URL", err: "-m post: methods are case-sensitive: use -m POST"},
			{command: "hey -n 200 -d @body.json URL", err: "-d must be a body, got one that begins with @: " +
				"use -p FILE to send a file, or -data for this body"},
			{command: "loadtest -n 200 post URL", err: "unknown command post: use -m POST" + server("post")},
			{command: "loadtest hey -n 200 URL", err: "unknown command hey: leave it out, e.g. loadtest -n 1000 -c 10 URL" + server("hey")},
		},
		"vegeta": {
			{command: "vegeta attack -rate=50 -duration=5s", err: "unknown command attack: use loadtest -rate 50 -duration 5s URL, " +
				"with -targets FILE for vegeta's targets" + server("attack")},
			{command: "loadtest -rate 50 -targets targets.txt", err: "-targets needs the server's URL as the last argument"},
			{command: "vegeta report results.bin", err: "unknown command report: each run prints its report, -json FILE writes it, " +
				"and loadtest merge FILE prints it again" + server("report")},
			{command: "vegeta plot results.bin", err: "unknown command plot: use -html FILE for a page with charts" + server("plot")},
		},
		"wrk2": {
			{command: "wrk -t2 -c100 -d30s URL", err: `-d must be a body, got "30s": use -duration 30s`},
			{command: "wrk2 -R2000 -c100 URL", err: "unknown flag -R: use -rate"},
			{command: "wrk2 -c100 -R 2000 URL", err: "unknown flag -R: use -rate"},
		},
		"k6": {
			{command: "k6 run script.js", err: scripts + "URL" + thresholds},
			{command: "k6 run --vus 10 --duration 30s script.js", err: scripts + "-c 10 -duration 30s URL" + thresholds},
			{command: "k6 run -u 10 -i 1000 script.js", err: scripts + "-c 10 -n 1000 URL" + thresholds},
			{command: "k6 run --rps 100 --duration 30s script.js", err: scripts + "-rate 100 -duration 30s URL" + thresholds},
			{command: "k6 run --stage 30s:100 --stage 1m:200 script.js", err: scripts + "-rate FROM:TO -duration 1m30s URL " +
				"(a ramp of the rate: the number of clients is constant)" + thresholds},
			{command: "k6 run -s 10s:50,30s:50,10s:0 script.js", err: scripts + "-rate FROM:TO -duration 50s URL " +
				"(a ramp of the rate: the number of clients is constant)" + thresholds},
			{command: "k6 run --vus 10 -o json=out.json script.js", err: scripts + "-c 10 -n 10 -json out.json URL" + thresholds},
			{command: "k6 run --vus 10 --out csv=out.csv script.js", err: scripts + "-c 10 -n 10 -g out.csv URL" + thresholds},
			{command: "k6 run --vus 10 --out influxdb=http://localhost:8086/k6 script.js", err: scripts + "-c 10 -n 10 -metrics ADDR URL " +
				"(-metrics serves the state of the run for Prometheus; -json FILE writes all results)" + thresholds},
			{command: "k6 run --quiet --summary-export=out.json -e HOST=x script.js", err: scripts + "-json out.json -q URL" + thresholds},
			{command: "k6 run --insecure-skip-tls-verify -d 1m script.js", err: scripts + "-duration 1m -insecure URL" + thresholds},
			{command: "k6 version", err: "unknown command version: use -version" + server("version")},
			{command: "k6 new script.js", err: "unknown command new: " + noScripts + server("new")},
			{command: "k6 inspect script.js", err: "unknown command inspect: " + noScripts + server("inspect")},
			{command: "k6 archive script.js", err: "unknown command archive: " + noScripts + server("archive")},
			{command: "k6 cloud script.js", err: "unknown command cloud: run loadtest -json FILE URL on each machine, then " +
				"loadtest merge FILES" + server("cloud")},
			{command: "loadtest -n 100 -assert 'p(95)<200' URL", err: `-assert "p(95)<200": unknown metric: use p95<200ms`},
			{command: "loadtest -n 100 -assert 'http_req_duration: p(95)<200' URL",
				err: `-assert "http_req_duration: p(95)<200": unknown metric: use p95<200ms`},
			{command: "loadtest -n 100 -assert 'rate<0.01' URL", err: `-assert "rate<0.01": unknown metric: use failed or errors, e.g. failed<1%`},
			{command: "loadtest -n 100 -assert 'errors<0.01' URL",
				err: `-assert "errors<0.01": a count must be a whole number, or a share of the requests such as 1%, got "0.01"`},
			{command: "loadtest -n 100 -assert 'errors<101%' URL", err: `-assert "errors<101%": a share of the requests must be at most 100%, got "101%"`},
		},
	}
}

// TestCompatibility runs each command with loadtest in place of the other tool.
func TestCompatibility(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })
	server, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	t.Cleanup(secure.Close)
	address := server.Listener.Addr().String()
	key, err := x509.MarshalPKCS8PrivateKey(secure.TLS.Certificates[0].PrivateKey)
	require.NoError(t, err)
	client := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	values := strings.NewReplacer("HTTPS_URL", secure.URL+"/", "URL", server.URL+"/", "PROXY", address)
	for _, all := range toolCommands() {
		for _, h := range all {
			t.Run(h.command, func(t *testing.T) {
				t.Parallel()
				script := `"$LOADTEST"` + strings.TrimPrefix(values.Replace(h.command), strings.Fields(h.command)[0])
				c := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
				c.Dir = t.TempDir()
				require.NoError(t, os.WriteFile(filepath.Join(c.Dir, "body.json"), []byte("{}"), 0o600))
				require.NoError(t, os.WriteFile(filepath.Join(c.Dir, "client.pem"), client, 0o600))
				c.Env = append(os.Environ(), runMain+"=1", "LOADTEST="+os.Args[0])
				var stdout, stderr bytes.Buffer
				c.Stdout, c.Stderr = &stdout, &stderr
				err := c.Run()
				if h.works != "" {
					require.NoError(t, err, stderr.String())
					if h.works == printsVersion {
						assert.Regexp(t, `^loadtest \S+, go1\..+\n$`, stdout.String())
						return
					}
					assert.Contains(t, stdout.String(), "\nFailed requests:        0\n")
					return
				}
				require.Error(t, err)
				assert.Equal(t, "loadtest: "+h.err+"\n", withoutProgress(stderr.String()))
			})
		}
	}
}

// withoutProgress removes the lines that report the progress of a run, and notes.
func withoutProgress(stderr string) string {
	var b strings.Builder
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "loadtest: ") && !strings.HasPrefix(line, "loadtest: note: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestCompatibilityIsDocumented compares the commands with the tables in README.md.
func TestCompatibilityIsDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for program, all := range toolCommands() {
		var table strings.Builder
		table.WriteString("| " + program + " | loadtest |\n|---|---|\n")
		for _, h := range all {
			result := h.works
			if result == "" {
				result = "error: " + h.err
			}
			table.WriteString("| `" + h.command + "` | " + result + " |\n")
		}
		assert.Contains(t, string(readme), table.String())
	}
}
