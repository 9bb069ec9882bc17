package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

// respond starts a server with a fixed status.
func respond(t *testing.T, status int) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, "x")
	}))
	t.Cleanup(server.Close)
	return server
}

// hang starts a server that accepts requests and never responds.
func hang(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(server.Close)
	return server
}

func TestNoResponseIsNoSuccess(t *testing.T) {
	out, errs, code := call(t.Context(), "-q", "-t", "100ms", "-c", "5", "-assert", "p99<50ms,failed=0,rps<1", hang(t).URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "FAIL p99<50ms: ")
	assert.Contains(t, out, "FAIL failed=0: no samples\n")
	assert.Contains(t, out, "FAIL rps<1: no samples\n")
	assert.Contains(t, errs, "no request succeeded")
}

func TestOnlyErrorsIsNoSuccess(t *testing.T) {
	unavailable := respond(t, http.StatusServiceUnavailable)
	for name, args := range map[string][]string{
		"no checks": {"-n", "20"},
		"latency":   {"-n", "20", "-assert", "p99<1m,failed=0"},
		"verify":    {"-n", "20", "-verify"},
		"open loop": {"-rate", "100", "-duration", "100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, code := call(t.Context(), append(append([]string{"-q"}, args...), unavailable.URL)...)
			assert.Equal(t, exitFailed, code)
			assert.Regexp(t, `^loadtest: no request succeeded: \d+ of \d+ responses were non-2xx\n$`, errs)
		})
	}
}

// TestVerifyChecksSomething has a server that succeeds, but never with a status that is checked.
func TestVerifyChecksSomething(t *testing.T) {
	out, _, code := call(t.Context(), "-q", "-n", "5", "-verify", respond(t, http.StatusAccepted).URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "Contract: FAIL: -verify is set")
}

func TestFindMaxLimitsErrors(t *testing.T) {
	unavailable := respond(t, http.StatusServiceUnavailable)
	out, _, code := call(t.Context(), "-find-max", "-slo", "p50<1m,rps<31", "-rate", "20", "-duration", "200ms", unavailable.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "missed: errors<1%: 100%")
	assert.Contains(t, out, "Verdict: no rate meets p50<1m,rps<31,errors<1%")
}

// TestRPSCountsSuccesses has a server with as many errors as successes.
func TestRPSCountsSuccesses(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests++; requests > 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	out, _, code := call(t.Context(), "-q", "-rate", "100", "-duration", "1s", "-c", "1", "-assert", "rps<=2", server.URL)
	assert.Equal(t, exitOK, code, out)
}
