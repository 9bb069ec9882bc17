// Package transport sends one request over and over, and times each step of every answer.
//
//	lean, err := transport.NewLean(transport.Options{Request: request, Observe: recorder.Observe})
//	client := &http.Client{Transport: lean}    // for vegeta.Client
//
// There are two transports, and both are an [http.RoundTripper] for vegeta to drive: [Lean] does no more than a
// benchmark needs and takes about as much CPU as ab, [Standard] is net/http's with all that it can do (TLS, HTTP/2,
// proxies). Either reads and checks the whole answer, however the server frames it, and then calls Options.Observe with
// an [Exchange]: vegeta's own Result knows neither the time to connect nor the time of the first byte.
//
// Both ignore what is in the request that they are handed except for vegeta's number of the hit, and hand back an
// answer with no header and no body: all there is to know has gone to Observe by then.
package transport
