package pgtest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Proxy starts a TCP proxy to the server at an address, host:port. [Toxic] injects faults into it. It is stopped at the
// end of the test.
func Proxy(t testing.TB, address string) *toxiproxy.Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "postgres", "127.0.0.1:0", address)
	if err := proxy.Start(); err != nil {
		t.Fatalf("pgtest: starting a proxy to %s: %v", address, err)
	}
	t.Cleanup(proxy.Stop)
	return proxy
}

// Toxic adds a toxic of toxiproxy to one direction ("upstream" or "downstream") of a proxy. undo removes it.
func Toxic(t testing.TB, proxy *toxiproxy.Proxy, kind, stream string, attributes map[string]int) (undo func()) {
	t.Helper()
	name := kind + " " + stream
	description, err := json.Marshal(map[string]any{
		"name": name, "type": kind, "stream": stream, "attributes": attributes,
	})
	if err == nil {
		_, err = proxy.Toxics.AddToxicJson(strings.NewReader(string(description)))
	}
	if err != nil {
		t.Fatalf("pgtest: adding %q: %v", name, err)
	}
	return func() {
		if err := proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
			t.Fatalf("pgtest: removing %q: %v", name, err)
		}
	}
}
