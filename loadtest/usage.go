package main

import (
	"strings"

	"github.com/pointsapp/pointsapp/loadtest/promise"
)

// usage is what -h prints.
func usage() string {
	return strings.Replace(usageText, "CLAUSES", strings.ReplaceAll(promise.Usage, "\n", "\n      "), 1)
}

const usageText = `loadtest measures an HTTP server: ab's flags, ab's report, and what ab cannot do.

  go run ./loadtest                                             the seed's benchmark on the reference server, started
                                                                in this process, beside the seed's figures
  go run ./loadtest -n 10000 -c 100 http://127.0.0.1:4000/      a number of clients, as ab
  go run ./loadtest -rate 5000 -duration 30s URL                requests at a rate
  go run ./loadtest -find-max -slo 'p99<50ms' URL               the highest rate that keeps a promise

A number of clients, as ab:
  -n N            requests (1)
  -c N            clients (1); with -rate and -find-max, the most there may be (1000)
  -t SECONDS      stop after that time; implies -n 50000
  -s SECONDS      wait that long for an answer (30)
  -k=false        a connection for each request; kept alive by default
  -l              bodies may differ in length
  -H 'NAME: VALUE'  a header to send; repeatable
  -m METHOD       (GET)
  -i              HEAD
  -q              no progress
  -e FILE         a csv of the time in which each percentage was served

At a rate:
  -rate N         requests per second, or a ramp of them: 1000:20000
  -duration D     (10s; with -find-max, for each rate, 5s)
  -find-max       double the rate (from -rate, or 1000) until the promise breaks, then bisect
  -slo CLAUSES    the promise

Judging:
  -assert CLAUSES   exit with 1 unless they hold; repeatable
      CLAUSES
  -verify         hold the answers against PointsApp's contract, and exit with 1 if one breaks it; by default if the
                  first answer looks like PointsApp's; -verify=false for never

Output:
  -json FILE      everything
  -html FILE      one page with charts; needs no network
  -compare FILE   side by side with an earlier run's -json; "seed" is the table in the seed's README

Means:
  -transport NAME   lean: HTTP/1.1 on little CPU (default); net/http: for TLS, HTTP/2 and proxies
  -cpus N         CPUs to use: by default half of them if the server is on this machine too, else all

Exit codes: 0; 1 for a broken promise, assertion or contract, a target that cannot be reached, an interrupted run;
2 for usage.
`
