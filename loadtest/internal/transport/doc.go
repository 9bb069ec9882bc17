// Package transport sends one request repeatedly, and times each step of every exchange.
//
//	h, err := transport.NewHTTP1(transport.Options{URL: u, KeepAlive: true, Observe: recorder.Observe})
//	client := &http.Client{Transport: h} // for vegeta.Client
//
// Both transports are an [http.RoundTripper] for vegeta. [HTTP1] speaks HTTP/1.1 over plain TCP at about ab's CPU cost.
// [NetHTTP] is net/http's transport, with TLS, HTTP/2 and proxies. Both read and check the whole response, whatever its
// framing, and then call Options.Observe with an [Exchange]. vegeta's Result has neither the connect time nor the time
// of the first byte.
//
// Of the request passed to RoundTrip, both use only the number that vegeta gives each hit. The response they return has
// no header and no body; everything of interest has been passed to Observe.
package transport
