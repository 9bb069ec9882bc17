package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"syscall"
)

// A target is where the requests go.
type target struct {
	addr  string // host:port; "" leaves it to the transport
	local bool   // it is this machine: its clock is ours, and its CPUs are
}

// reach connects once, to tell at the start what would be wrong with each request, and to look the host up only once.
func reach(ctx context.Context, cfg *config) (target, error) {
	if cfg.transport == standard {
		if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: cfg.url}); err != nil || proxy != nil {
			return target{}, err
		}
	}
	addr := net.JoinHostPort(cfg.url.Hostname(), cfg.port())
	dialer := net.Dialer{Timeout: cfg.timeout}
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return target{}, unreachable(addr, err)
	}
	defer c.Close() //nolint:errcheck // nothing was sent
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return target{addr: addr}, nil
	}
	own, ok := c.LocalAddr().(*net.TCPAddr)
	return target{addr: remote.String(), local: ok && own.IP.Equal(remote.IP)}, nil
}

func unreachable(addr string, err error) error {
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown) && unknown.IsNotFound:
		return fmt.Errorf("there is no host %q", unknown.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s: connection refused", addr)
	}
	return fmt.Errorf("cannot connect to %s: %w", addr, err)
}

// limitCPUs leaves half of the CPUs to a server on the same machine, as ab does on two. With one thread the clients
// also hand over to each other without waking another. The result undoes it.
func limitCPUs(cfg *config, t target) (undo func()) {
	n := cfg.cpus
	if n == 0 && t.local && !cfg.reference {
		n = (runtime.NumCPU() + 1) / 2
	}
	before := runtime.GOMAXPROCS(n) // below 1 it only tells
	return func() { runtime.GOMAXPROCS(before) }
}
