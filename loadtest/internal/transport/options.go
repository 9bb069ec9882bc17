package transport

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// ErrClosed is returned for requests that were pending when Close was called, which are observed as Aborted, and for
// requests made after it, which are not observed.
var ErrClosed = errors.New("transport: closed")

// Options configure a transport.
type Options struct {
	// Method and URL are those of the request. The default method is GET; the URL must have a host.
	Method string
	URL    *url.URL

	// Target is the request target (path and query), sent exactly as given. The default is that of URL.
	Target string

	// Header is added to the request, and replaces the default headers Host, User-Agent and Accept,
	// and the Basic authentication of a user in URL.
	Header http.Header

	// Body is the body of the request; nil means none.
	Body []byte

	// Addr is the host:port to connect to. The default is that of Proxy, and without a proxy that of the URL.
	Addr string

	// Proxy is the http URL of a proxy, with its user and password; nil means none. NetHTTP takes nil as the proxy of the
	// environment (http_proxy).
	Proxy *url.URL

	// KeepAlive reuses connections. The default is one connection per request.
	KeepAlive bool

	// Timeout bounds a request, including the time to connect. The default is 30 seconds, like ab's.
	Timeout time.Duration

	// Epoch is the zero of all times in an Exchange. The default is when the transport was created.
	Epoch time.Time

	// Observe is called at the end of each exchange, before RoundTrip returns, by many goroutines concurrently. The
	// exchange is valid until it returns.
	Observe func(*Exchange)

	// ClientDelay, if set, returns how long the client itself, and not the server, has delayed hit seq, which is sent at
	// the given time (see Exchange.ClientDelay). It is called by many goroutines concurrently.
	ClientDelay func(seq uint64, at time.Duration) time.Duration

	// Next, if set, reports whether HTTP1 may send another request at once on the connection that it has just used, up
	// to RequestsPerHit requests for one hit of vegeta. This divides the CPU cost of a hit.
	Next           func() bool
	RequestsPerHit int
}

func (o Options) withDefaults() (Options, error) {
	o.Method = cmp.Or(o.Method, http.MethodGet)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	if o.Epoch.IsZero() {
		o.Epoch = time.Now()
	}
	if o.Observe == nil {
		o.Observe = func(*Exchange) {}
	}
	if o.URL == nil || o.URL.Hostname() == "" {
		return o, errors.New("the URL must have a host")
	}
	o.Target = cmp.Or(o.Target, o.URL.RequestURI())
	if o.Timeout < 0 {
		return o, fmt.Errorf("the timeout must not be negative, got %v", o.Timeout)
	}
	if !httpguts.ValidHeaderFieldName(o.Method) { // both are tokens
		return o, fmt.Errorf("the method must be an HTTP token, got %q", o.Method)
	}
	for name, values := range o.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return o, fmt.Errorf("a header name must be an HTTP token, got %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return o, fmt.Errorf("the value of header %s must not have control characters", name)
			}
		}
	}
	if o.Proxy != nil {
		o.Addr = cmp.Or(o.Addr, hostPort(o.Proxy))
	}
	o.Addr = cmp.Or(o.Addr, hostPort(o.URL))
	return o, nil
}

func hostPort(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return net.JoinHostPort(u.Hostname(), port)
}

// now returns the current time relative to Epoch.
func (o Options) now() time.Duration { return time.Since(o.Epoch) }

// begin resets x to hit seq, which begins now.
func (o Options) begin(x *Exchange, seq uint64) {
	x.begin(seq, o.now())
	if o.ClientDelay != nil {
		x.ClientDelay = o.ClientDelay(seq, x.Start)
	}
}

// headers returns the headers to send in a new map, and separately the value of Host.
func (o Options) headers() (header http.Header, host string) {
	header = http.Header{"User-Agent": {"pointsapp-loadtest"}, "Accept": {"*/*"}}
	for name, values := range o.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	if u := o.URL.User; u != nil && header.Get("Authorization") == "" {
		header.Set("Authorization", basicAuth(u))
	}
	host = cmp.Or(header.Get("Host"), withoutZone(o.URL.Host))
	header.Del("Host")
	return header, host
}

func basicAuth(u *url.Userinfo) string {
	password, _ := u.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password))
}

// withoutZone removes the zone of an IPv6 address: it has a meaning only on this machine.
func withoutZone(host string) string {
	end := strings.LastIndexByte(host, ']')
	zone := strings.IndexByte(host, '%')
	if zone < 0 || zone > end {
		return host
	}
	return host[:zone] + host[end:]
}

// expectsBody reports whether requests with the method normally have a body, so that an absent one must be announced.
func (o Options) expectsBody() bool {
	return o.Method == http.MethodPost || o.Method == http.MethodPut || o.Method == http.MethodPatch
}
