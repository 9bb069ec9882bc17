package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// A target holds the requests and the addresses of the server.
type target struct {
	addrs    []string // host:port, or the path of a Unix socket; nil lets the transport choose
	local    bool     // on this machine: shares its clock and CPUs
	body     []byte   // of each request; nil means none
	requests []transport.Request
	tls      *tls.Config // for https
}

// newTarget reads the files that describe the requests, and connects to the server once, so that an unreachable server
// is one error at the start and its name is looked up only once.
func newTarget(ctx context.Context, cfg *flags.Config) (t target, err error) {
	t.body = cfg.Body
	if name := cfg.BodyFile(); name != "" {
		if t.body, err = readFile(ctx, name, "the body"); err != nil {
			return t, err
		}
	}
	if cfg.TargetsFile != "" {
		t.requests, err = await(ctx, func() ([]transport.Request, error) { return readTargets(cfg) },
			fmt.Errorf("interrupted while reading %s and the bodies that it names", cfg.TargetsFile))
		if err != nil {
			return t, err
		}
	}
	if t.tls, err = tlsConfig(ctx, cfg); err != nil {
		return t, err
	}
	return t, t.resolve(ctx, cfg)
}

// tlsConfig returns the configuration for -insecure, -cacert and -cert.
func tlsConfig(ctx context.Context, cfg *flags.Config) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: cfg.Insecure} //nolint:gosec // by request
	if cfg.CACert != "" {
		certs, err := readFile(ctx, cfg.CACert, "the certificates")
		if err != nil {
			return nil, err
		}
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool()
		}
		if !config.RootCAs.AppendCertsFromPEM(certs) {
			return nil, fmt.Errorf("cannot read the certificates: no certificate in PEM form in %s", cfg.CACert)
		}
	}
	if cfg.Cert != "" {
		cert, err := clientCertificate(ctx, cfg)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}

// clientCertificate reads the certificate of -cert, and its key from the same file or from -key.
func clientCertificate(ctx context.Context, cfg *flags.Config) (cert tls.Certificate, err error) {
	certPEM, err := readFile(ctx, cfg.Cert, "the client certificate")
	if err != nil {
		return cert, err
	}
	keyPEM := certPEM
	if cfg.Key != "" {
		if keyPEM, err = readFile(ctx, cfg.Key, "the key of the client certificate"); err != nil {
			return cert, err
		}
	}
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return cert, fmt.Errorf("cannot use the client certificate in %s: %w", cfg.Cert, err)
	}
	return cert, nil
}

// resolve connects to the server and sets addrs and local.
func (t *target) resolve(ctx context.Context, cfg *flags.Config) error {
	dialer := net.Dialer{Timeout: cfg.Timeout}
	if cfg.UnixSocket != "" {
		c, err := dialer.DialContext(ctx, "unix", cfg.UnixSocket)
		if err != nil {
			return connectError(cfg.UnixSocket, err)
		}
		t.addrs, t.local = []string{cfg.UnixSocket}, true
		return c.Close()
	}
	if usesProxy, err := netHTTPUsesProxy(cfg); usesProxy || err != nil {
		return err
	}
	host, port := cfg.URL.Hostname(), cfg.Port()
	if cfg.Proxy != nil {
		host, port = cfg.Proxy.Hostname(), cmp.Or(cfg.Proxy.Port(), "80")
	}
	addr := net.JoinHostPort(host, port)
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return connectError(addr, err)
	}
	defer c.Close() //nolint:errcheck // nothing was sent
	t.addrs = []string{addr}
	remote, okRemote := c.RemoteAddr().(*net.TCPAddr)
	local, okLocal := c.LocalAddr().(*net.TCPAddr)
	if okRemote && okLocal {
		t.local = local.IP.Equal(remote.IP) && cfg.Proxy == nil // a proxy hides where the server is
		t.addrs = append([]string{remote.String()}, otherAddrs(ctx, host, remote)...)
	}
	return nil
}

// otherAddrs returns the other addresses of host that accept connections. Like a browser, it uses only the family of
// the address that answered first: the other one is often the same server.
func otherAddrs(ctx context.Context, host string, first *net.TCPAddr) (addrs []string) {
	known := first.AddrPort()
	network := "ip4"
	if known.Addr().Unmap().Is6() {
		network = "ip6"
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil
	}
	dialer := net.Dialer{Timeout: time.Second} // short, because the first one has answered
	for _, ip := range ips {
		other := netip.AddrPortFrom(ip.Unmap(), known.Port())
		if other.Addr().WithZone("") == known.Addr().Unmap().WithZone("") {
			continue
		}
		if c, err := dialer.DialContext(ctx, "tcp", other.String()); err == nil {
			_ = c.Close() // nothing was sent
			addrs = append(addrs, other.String())
		}
	}
	return addrs
}

// environmentProxy reports whether the environment names a proxy for the URL.
func environmentProxy(cfg *flags.Config) (bool, error) {
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(cfg.URL)
	return proxy != nil, err
}

// netHTTPUsesProxy reports whether the transport is net/http's and connects to a proxy, whose name it looks up itself.
func netHTTPUsesProxy(cfg *flags.Config) (bool, error) {
	if cfg.Transport != flags.NetHTTP {
		return false, nil
	}
	if cfg.Proxy != nil {
		return true, nil
	}
	return environmentProxy(cfg)
}

// ignoresProxy reports whether the environment names a proxy that the transport does not use.
func ignoresProxy(cfg *flags.Config) bool {
	if cfg.Transport == flags.NetHTTP || cfg.Proxy != nil || cfg.UnixSocket != "" {
		return false
	}
	proxy, err := environmentProxy(cfg)
	return proxy || err != nil
}

func connectError(addr string, err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return fmt.Errorf("host %q not found", dns.Name)
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok { // without its name and the address
		err = operation.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return fmt.Errorf("cannot connect to %s: %w", addr, err)
}

// limitCPUs sets GOMAXPROCS to -cpus; by default it leaves half of the CPUs to a server on the same machine. Fewer
// threads also need less CPU time: goroutines switch without waking another thread. Call undo at the end.
func limitCPUs(cfg *flags.Config, t target) (undo func()) {
	n := cfg.CPUs
	if n == 0 && t.local && !cfg.Reference {
		n = (runtime.NumCPU() + 1) / 2
	}
	before := runtime.GOMAXPROCS(n) // 0 changes nothing
	return func() { runtime.GOMAXPROCS(before) }
}
