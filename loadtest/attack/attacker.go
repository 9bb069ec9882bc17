package attack

import (
	"net/http"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// anything is what vegeta is told to hit: the transport knows what to send.
func anything() vegeta.Target { return vegeta.Target{Method: http.MethodGet, URL: "/"} }

// newAttacker returns an Attacker for one attack with at least and at most so many workers.
func newAttacker(transport http.RoundTripper, workers, maxWorkers uint64) *vegeta.Attacker {
	client := &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a redirect is an answer, as for ab
		},
	}
	return vegeta.NewAttacker(vegeta.Client(client), vegeta.Workers(workers), vegeta.MaxWorkers(maxWorkers))
}

// drain takes the results of an attack. What is in them has been observed by the transport, with more detail.
func drain(results <-chan *vegeta.Result) {
	for range results {
	}
}
