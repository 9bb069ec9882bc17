package attack

import (
	"net/http"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// anyTarget is a placeholder: the transport determines what is sent.
func anyTarget() vegeta.Target { return vegeta.Target{Method: http.MethodGet, URL: "/"} }

// newAttacker returns an Attacker for a single attack.
func newAttacker(transport http.RoundTripper, workers, maxWorkers uint64) *vegeta.Attacker {
	client := &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // like ab, do not follow redirects
		},
	}
	return vegeta.NewAttacker(vegeta.Client(client), vegeta.Workers(workers), vegeta.MaxWorkers(maxWorkers))
}

// drain receives and drops the results of an attack: the transport has already observed them in more detail.
func drain(results <-chan *vegeta.Result) {
	for range results {
	}
}
