package testenv

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// given has the ports that this process has got from FreePort: the servers on them may not listen yet.
var given sync.Map //nolint:gochecknoglobals // ports are the machine's

// FreePort returns a free TCP port of 127.0.0.1, a new one at each call. It is outside of the range of ephemeral ports,
// which connections of other tests could take before the server listens.
func FreePort() (string, error) {
	var config net.ListenConfig
	last := errors.New("testenv: no free port found")
	for range 100 {
		port := strconv.Itoa(20_000 + rand.IntN(10_000))
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		listener, err := config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return port, listener.Close()
		}
		last = err
	}
	return "", last
}
