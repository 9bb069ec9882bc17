package system

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A tcpProxy passes each connection to the next server that is ready. It knows nothing of HTTP, so it repeats nothing:
// what a server loses is lost.
type tcpProxy struct {
	servers []string
	ready   []atomic.Bool
	next    atomic.Int64
}

// startTCPProxy starts a TCP proxy before three servers, and returns its URL. It checks /readyz of each server once per
// second, the shortest period of Kubernetes.
func startTCPProxy(t *testing.T, servers [3]*server) (url string) {
	t.Helper()
	p := &tcpProxy{ready: make([]atomic.Bool, len(servers))}
	for _, s := range servers {
		p.servers = append(p.servers, s.address())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	ended := make(chan struct{})
	t.Cleanup(func() {
		close(ended)
		listener.Close()
		running.Wait()
	})
	for i := range p.servers {
		p.check(i)
		running.Go(func() { p.checkUntil(i, ended) })
	}
	running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.pass(c, ended) })
		}
	})
	return "http://" + listener.Addr().String() + "/"
}

func (p *tcpProxy) checkUntil(server int, ended <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.check(server)
		case <-ended:
			return
		}
	}
}

func (p *tcpProxy) check(server int) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + p.servers[server] + "/readyz")
	p.ready[server].Store(err == nil && response.StatusCode == http.StatusOK)
	if err == nil {
		response.Body.Close()
	}
}

// pass connects a client to a server until one of them closes its connection, or the test ends.
func (p *tcpProxy) pass(client net.Conn, ended <-chan struct{}) {
	defer client.Close()
	var address string
	for range p.servers {
		i := int(p.next.Add(1)) % len(p.servers)
		if p.ready[i].Load() {
			address = p.servers[i]
			break
		}
	}
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	directions := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		io.Copy(to, from) //nolint:errcheck // the other end has gone
		to.(*net.TCPConn).CloseWrite()
		directions <- struct{}{}
	}
	go pass(server, client)
	go pass(client, server)
	for range cap(directions) {
		select {
		case <-directions:
		case <-ended:
			return
		}
	}
}
