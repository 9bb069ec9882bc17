package transport

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
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

	// Requests, if set, are sent in turn instead.
	Requests []Request

	// Addrs are the addresses to connect to, in turn, in Network ("tcp", the default, or "unix"). The default is the
	// host:port of Proxy, and without a proxy that of the URL.
	Addrs   []string
	Network string

	// TLS configures https in NetHTTP. The default verifies the server's certificate.
	TLS *tls.Config

	// DisableHTTP2 makes NetHTTP use HTTP/1.1 even if the server offers HTTP/2.
	DisableHTTP2 bool

	// Proxy is the http URL of a proxy, with its user and password; nil means none. NetHTTP takes nil as the proxy of the
	// environment (http_proxy).
	Proxy *url.URL

	// KeepAlive reuses connections. The default is one connection per request.
	KeepAlive bool

	// KeepHead fills in Exchange.Head, which costs time for each response.
	KeepHead bool

	// Timeout bounds a request, including the time to connect. The default is 30 seconds, like ab's.
	Timeout time.Duration

	// Epoch is the zero of all times in an Exchange. The default is when the transport was created.
	Epoch time.Time

	// Observe is called at the end of each exchange, before RoundTrip returns, by many goroutines concurrently. The
	// exchange is valid until Observe returns.
	Observe func(*Exchange)

	// ClientDelay, if set, returns how long the load generator, not the server, has delayed hit seq, which is sent at the
	// given time (see Exchange.ClientDelay). It is called by many goroutines concurrently.
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
	o, err := o.withRequests()
	if err != nil {
		return o, err
	}
	if o.Proxy != nil {
		o.Addrs = defaultAddrs(o.Addrs, o.Proxy)
	}
	o.Addrs = defaultAddrs(o.Addrs, o.URL)
	o.Network = cmp.Or(o.Network, "tcp")
	return o, nil
}

func defaultAddrs(addrs []string, u *url.URL) []string {
	if len(addrs) > 0 {
		return addrs
	}
	return []string{hostPort(u)}
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

// headers returns the headers of r to send in a new map, and separately the value of Host.
func (o Options) headers(r *Request) (header http.Header, host string) {
	header = http.Header{"User-Agent": {"pointsapp-loadtest"}, "Accept": {"*/*"}}
	maps.Copy(header, r.Header)
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
