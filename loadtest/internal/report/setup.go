package report

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Difference describes how the setups of two runs differ; "" if they are the same. A setup is the kind of server
// (Run.Setup), the kind of load with its number of clients or its rate, the method or the number of different requests,
// keep-alive and the transport. The rate of a search is its result: two searches need the same SLO.
func Difference(old, current *Run) string {
	var texts []string
	if old.Setup != current.Setup {
		texts = append(texts, fmt.Sprintf("old run: %s; new run: %s", server(old), server(current)))
	}
	add := func(format, old, current string) {
		if old != current {
			texts = append(texts, fmt.Sprintf(format, old, current))
		}
	}
	add("the old run was %s, this one is %s", load(old), load(current))
	const has = "the old run has %s, this one has %s"
	add(has, requests(old), requests(current))
	add(has, keepAlive(old), keepAlive(current))
	if old.Load.Transport != "" && current.Load.Transport != "" { // otherwise unknown
		add(has, transportOf(old), transportOf(current))
	}
	return strings.Join(texts, "; ")
}

func server(r *Run) string { return cmp.Or(r.Setup, "the server at "+r.Target.URL) }

// load describes the kind of load. The number of clients of an open loop is only a limit.
func load(r *Run) string {
	switch {
	case r.Search != nil:
		return "a search with the SLO " + r.Search.SLO
	case r.IsOpen():
		return "an open loop of " + totalRate(r.Load.Rate) + "/s"
	}
	return "a closed loop of " + Plural(r.Load.Concurrency, "client", "clients")
}

// totalRate returns the sum of the rates of merged runs, unless one is a ramp.
func totalRate(rates string) string {
	var sum float64
	for rate := range strings.SplitSeq(rates, " + ") {
		v, err := strconv.ParseFloat(rate, 64)
		if err != nil {
			return rates
		}
		sum += v
	}
	return strconv.FormatFloat(sum, 'f', -1, 64)
}

func requests(r *Run) string {
	if r.Target.Requests > 0 {
		return Plural(r.Target.Requests, "request in turn", "requests in turn")
	}
	return "method " + r.Target.Method
}

func keepAlive(r *Run) string {
	if r.Load.KeepAlive {
		return "keep-alive"
	}
	return "no keep-alive"
}

func transportOf(r *Run) string { return "transport " + r.Load.Transport }

// withoutRatios says why two runs are compared without ratios; "" if with ratios.
func withoutRatios(old, current *Run) string {
	text := Difference(old, current)
	for i, r := range []*Run{old, current} {
		if reason := r.NoSuccess(); text == "" && reason != "" {
			text = []string{"old", "new"}[i] + " run: " + reason
		}
	}
	if text == "" {
		return ""
	}
	return "Not comparable, so without ratios: " + text + "."
}
