package flags

import (
	"strings"

	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// Usage returns the text of -h.
func Usage() string {
	return strings.Replace(usageText, "{clauses}", strings.ReplaceAll(slo.Usage, "\n", "\n      "), 1)
}

const usageText = `loadtest is an HTTP load tester with the flags and the report of ab. Beyond ab it has open loops,
SLOs, comparisons and contract checks. As in ab, one-letter flags can be bundled, and numbers attached: -kc100. Longer
names can have one dash or two.

  go run ./loadtest                                             the benchmark of the original (the Elixir app) against
                                                                a server in this process, beside the original's figures
  go run ./loadtest -n 10000 -c 100 http://127.0.0.1:4000/      closed loop, like ab
  go run ./loadtest -rate 5000 -duration 30s URL                open loop at a constant rate
  go run ./loadtest -find-max -slo 'p99<50ms' URL               the highest rate that meets an SLO
  go run ./loadtest merge a.json b.json                         one report for the -json files of several load
                                                                generators that ran at the same time; with -assert,
                                                                -json, -html, -compare and -e;
                                                                "merge -compare a.json b.json" compares two finished
                                                                runs

Closed loop (each client sends its next request after the response to the previous one):
  -n N              number of requests (default 1)
  -c N              number of concurrent clients (default 1); in an open loop, the maximum (default 1000)
  -t SECONDS        stop after this time; implies -n 50000 unless -n is given
  -duration D       stop after this time, or after -n requests if given, whichever comes first; -z D ignores -n, as in
                    hey and oha
  -s SECONDS        timeout of a request (default 30)
  -k=false          use a new connection for each request (default: keep-alive)
  -l                do not count responses of other lengths than the first as failed requests
  -H 'NAME: VALUE'  add a request header; repeatable
  -A USER:PASSWORD  use Basic authentication, as for a URL with user and password
  -C NAME=VALUE     send a cookie; repeatable
  -m METHOD         request method (default GET)
  -i                use HEAD
  -p FILE           POST the file; -T TYPE is its content type (default text/plain)
  -u FILE           PUT the file
  -data TEXT        POST the text; -d TEXT is the same, as in hey and oha
  -X HOST:PORT      use a proxy; -P USER:PASSWORD are its credentials
  -v N              from 2 on, print the first response with its header
  -q                no progress
  -e FILE           write a CSV of the 0th to 100th percentile of the request times, in ms
  -g FILE           write the times of each request as tab-separated values; takes memory for each request
  -r -S -w -I -x -y -b -f -Z   flags of ab that are accepted and ignored

Open loop (requests are sent on schedule, whether or not earlier ones have been answered):
  -rate N           offered rate in requests per second (5000, 0.5) or per unit (60/m), or a ramp (1000:20000)
  -duration D       length of the run (default 10s), or of each step of -find-max (default 5s)
  -find-max         search for the highest rate that meets the SLO and of which 99% is reached: double -rate (default
                    1000) until it misses, or halve it until it meets the SLO; then bisect until the highest rate that
                    met it and the lowest that missed it are within 5%; a rate misses only if it misses twice, and a
                    step of three times -duration confirms the result
  -slo CLAUSES      the SLO of -find-max: upper bounds; use -assert for lower bounds such as rps>N, which it checks in
                    the result

Checks:
  -assert CLAUSES   exit with 1 unless all clauses pass; repeatable
      CLAUSES are {clauses}
  -verify           check responses against PointsApp's contract and exit with 1 on a violation; by default only if the
                    first response looks like PointsApp's; -verify=false turns it off

Output (all files must differ; an existing one is replaced only once the new one is complete):
  -json FILE        write all results as JSON; with FILE -, to stdout, and the report to stderr (also for -e and -html)
  -html FILE        write a self-contained page with charts
  -metrics ADDR     serve Prometheus metrics at http://ADDR/metrics during the run, e.g. 127.0.0.1:9464
  -compare FILE     compare with the -json of an earlier run; "original" means the figures in the original's README
  -compare URL      compare with the server of the old version: runs on both servers alternate
  -repeat N         run the load N times and report all runs as one (default 1; 5 with -compare URL); clauses with old
                    then pass only if they hold in the whole 95% confidence interval

Requests and server:
  -targets FILE     send the requests in the file in turn, in the format of vegeta's targets: METHOD URL, headers, and
                    @FILE with a body; a URL may be only a path
  -unix-socket PATH connect to a Unix socket
  -insecure         do not verify the server's certificate
  -cacert FILE      also trust the certificates in the file (PEM)
  -cert FILE        client certificate (PEM), with its key unless -key FILE has it; -E FILE is the same, as in ab
  -http2=false      use HTTP/1.1 for https, as ab does (default: HTTP/2 if the server offers it)

Other:
  -version          print the version; -V is the same
  -transport NAME   http1 (default for http): HTTP/1.1 at about ab's CPU cost; net/http (default for https): TLS, HTTP/2
                    and proxies
  -cpus N           CPUs to use (default: half if the server is on this machine, otherwise all)

Exit codes: 0 success; 1 failed assertion, SLO or contract check, no 2xx response, unreachable server, search limited by
the load generator, interrupted run, or a file that cannot be read or written; 2 usage error.
`
