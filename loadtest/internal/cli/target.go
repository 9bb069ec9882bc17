package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
)

// A target is the address that requests are sent to.
type target struct {
	addr  string // host:port; "" lets the transport choose
	local bool   // on this machine: shares its clock and CPUs
	body  []byte // of each request; nil means none
}

// readBody reads the body of the requests.
func (t *target) readBody(cfg *flags.Config) (err error) {
	name := cfg.BodyFile()
	if name == "" {
		return nil
	}
	if t.body, err = os.ReadFile(name); err != nil { //nolint:gosec // named by the user
		return fmt.Errorf("cannot read the body: %w", err)
	}
	if t.body == nil {
		t.body = []byte{}
	}
	return nil
}

// resolve connects to the target once, so that an unreachable target is one error at the start and the name is looked
// up only once.
func resolve(ctx context.Context, cfg *flags.Config) (target, error) {
	if cfg.Transport == flags.NetHTTP {
		if cfg.Proxy != nil {
			return target{}, nil
		}
		if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: cfg.URL}); err != nil || proxy != nil {
			return target{}, err
		}
	}
	addr := net.JoinHostPort(cfg.URL.Hostname(), cfg.Port())
	if cfg.Proxy != nil {
		addr = net.JoinHostPort(cfg.Proxy.Hostname(), cmp.Or(cfg.Proxy.Port(), "80"))
	}
	dialer := net.Dialer{Timeout: cfg.Timeout}
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return target{}, connectError(addr, err)
	}
	defer c.Close() //nolint:errcheck // nothing was sent
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return target{addr: addr}, nil
	}
	local, ok := c.LocalAddr().(*net.TCPAddr)
	isLocal := ok && local.IP.Equal(remote.IP) && cfg.Proxy == nil // a proxy hides where the server is
	return target{addr: remote.String(), local: isLocal}, nil
}

func connectError(addr string, err error) error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("host %q not found", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot connect to %s: connection refused", addr)
	}
	return fmt.Errorf("cannot connect to %s: %w", addr, err)
}

// limitCPUs leaves half of the CPUs to a server on the same machine. ab has a single thread, and so leaves one of two;
// with one thread, goroutines also hand over to each other without waking another thread. Call undo at the end.
func limitCPUs(cfg *flags.Config, t target) (undo func()) {
	n := cfg.CPUs
	if n == 0 && t.local && !cfg.Reference {
		n = (runtime.NumCPU() + 1) / 2
	}
	before := runtime.GOMAXPROCS(n) // 0 changes nothing
	return func() { runtime.GOMAXPROCS(before) }
}
