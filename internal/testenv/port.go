package testenv

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreePort returns a free TCP port of 127.0.0.1. It is outside of the range of ephemeral ports, which connections of
// other tests could take before the server listens.
func FreePort() (string, error) {
	var config net.ListenConfig
	var last error
	for range 10 {
		port := strconv.Itoa(20_000 + rand.IntN(10_000))
		listener, err := config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return port, listener.Close()
		}
		last = err
	}
	return "", last
}
