package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/pointsapp/pointsapp/examples/server/internal/backend"
	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// Healthcheck asks the server that listens on addr whether it is ready, for containers that have neither a shell nor
// curl. It returns nil if the server is ready. Any other response, or none within 2 seconds, is an error of one line.
func Healthcheck(ctx context.Context, addr config.Address) error {
	const timeout = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	host, dial, err := dialer(addr)
	if err != nil {
		return err
	}
	readyz := url.URL{Scheme: "http", Host: "localhost", Path: "/readyz"}
	if _, _, ok := addr.Unix(); !ok {
		readyz.Host = host
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, readyz.String(), nil)
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	// http.DefaultTransport would use the proxy that the environment names.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	response, err := client.Do(request)
	switch {
	case err == nil:
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: nothing listens there: start the server, or give its address, see -addr (ADDR)", host)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: no answer within %s", host, timeout)
	default:
		return fmt.Errorf("%s: no answer: %s", host, backend.OneLine(err))
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode == http.StatusOK {
		return nil
	}
	var p struct {
		Detail string `json:"detail"`
	}
	if json.NewDecoder(response.Body).Decode(&p) != nil || p.Detail == "" {
		return fmt.Errorf("%s: %s: another program listens there, see -addr (ADDR)", host, response.Status)
	}
	return fmt.Errorf("%s: %s: %s", host, response.Status, p.Detail)
}

// dialer returns a function for http.Transport that connects to the server that listens on addr, and the address or
// path that it connects to.
func dialer(addr config.Address) (
	address string, dial func(ctx context.Context, network, address string) (net.Conn, error), err error,
) {
	var d net.Dialer
	if path, _, ok := addr.Unix(); ok {
		return path, func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }, nil
	}
	address, other, err := reachable(addr)
	return address, func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err == nil || other == "" || ctx.Err() != nil {
			return c, err
		}
		if c, otherErr := d.DialContext(ctx, network, other); otherErr == nil {
			return c, nil
		}
		return nil, err
	}, err
}

// reachable returns where a server that listens on addr can be reached from its own machine. If it listens on every
// interface, that is the loopback address of addr's family, and other is that of the other family: the machine may have
// only one of the two.
func reachable(addr config.Address) (address, other string, err error) {
	host, port, err := net.SplitHostPort(string(addr))
	if err != nil {
		return "", "", fmt.Errorf("%s: %w: see -addr (ADDR)", addr, err)
	}
	if port == "0" {
		return "", "", fmt.Errorf("%s: port 0 is any free port: give the one that the server listens on, "+
			"see -addr (ADDR)", addr)
	}
	v4, v6 := net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)
	switch ip, err := netip.ParseAddr(host); {
	case host == "", err == nil && ip == netip.IPv4Unspecified():
		return v4, v6, nil
	case err == nil && ip == netip.IPv6Unspecified():
		return v6, v4, nil
	default:
		return net.JoinHostPort(host, port), "", nil
	}
}
