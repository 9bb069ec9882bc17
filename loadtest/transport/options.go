package transport

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpguts"
)

// ErrClosed is the error of a request that was cut short by Close, or came after it. It is not observed.
var ErrClosed = errors.New("transport: closed")

// Options configure a transport.
type Options struct {
	// Method and URL are what to ask for. The defaults are GET and none: there must be a URL with a host.
	Method string
	URL    *url.URL

	// Header is sent along, and replaces the headers that are sent by themselves: Host, User-Agent and Accept.
	Header http.Header

	// Addr is the host:port to connect to. The default is the URL's.
	Addr string

	// KeepAlive uses a connection again for as long as the server lets it. The default is one connection a request.
	KeepAlive bool

	// Timeout is how long a request may take, connecting included. The default is 30 seconds, as ab's. Lean may wait up
	// to an eighth longer than that.
	Timeout time.Duration

	// Began is what the times of an Exchange count from. The default is when the transport was made.
	Began time.Time

	// Observe is called at the end of each exchange, before its answer is handed back, by many goroutines at once. The
	// exchange may be read only until it returns.
	Observe func(*Exchange)

	// Again, if it is set, is asked after an answer on a kept connection whether to send the request once more at once,
	// until one hit of vegeta's has sent Visit requests. It saves what vegeta costs a hit. Only Lean asks.
	Again func() bool
	Visit int
}

func (o Options) withDefaults() (Options, error) {
	o.Method = cmp.Or(o.Method, http.MethodGet)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	if o.Began.IsZero() {
		o.Began = time.Now()
	}
	if o.Observe == nil {
		o.Observe = func(*Exchange) {}
	}
	if o.URL == nil || o.URL.Hostname() == "" {
		return o, errors.New("transport: Options.URL needs a host")
	}
	if o.Timeout < 0 {
		return o, fmt.Errorf("transport: Options.Timeout cannot be negative: %v", o.Timeout)
	}
	if !httpguts.ValidHeaderFieldName(o.Method) { // a method is a token, as a field name is
		return o, fmt.Errorf("transport: %q is no HTTP method", o.Method)
	}
	for name, values := range o.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return o, fmt.Errorf("transport: %q is no header name", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return o, fmt.Errorf("transport: %q is no value for header %s", value, name)
			}
		}
	}
	o.Addr = cmp.Or(o.Addr, hostPort(o.URL))
	return o, nil
}

func hostPort(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return net.JoinHostPort(u.Hostname(), port)
}

// since is the time now, as an Exchange has it.
func (o Options) since() time.Duration { return time.Since(o.Began) }

// headers are those to send, in a map of the caller's own, with Host taken out.
func (o Options) headers() (header http.Header, host string) {
	header = http.Header{"User-Agent": {"pointsapp-loadtest"}, "Accept": {"*/*"}}
	for name, values := range o.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	host = cmp.Or(header.Get("Host"), o.URL.Host)
	header.Del("Host")
	return header, host
}
