package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

const (
	patroniImage = "points-patroni:17" // made by .ci/patroni-image
	patroniSize  = 3

	// The least that Patroni accepts.
	patroniTTL          = 20 // seconds until a dead primary is replaced
	patroniLoopWait     = 1
	patroniRetryTimeout = 3
)

// The last bytes of the addresses in a cluster's network. Those of the members follow.
const (
	etcdAddress    = 10
	haproxyAddress = 11
	memberAddress  = 21
)

// A Patroni is a cluster of three PostgreSQL servers that Patroni manages, with one etcd, and an HAProxy that connects
// its clients to the primary. They are containers in a network of their own. It is not safe for concurrent use.
type Patroni struct {
	HAProxy string // connection string of the superuser, through HAProxy

	t           testing.TB
	synchronous bool
	subnet      string // the first three bytes of its addresses
	network     string // also the label of its containers and the prefix of their names
	members     []string
	password    string // of all roles
}

// guardPatroni is the guard script of a cluster.
const guardPatroni = `
echo ready
read -r end
docker ps --all --quiet --filter "label=$1" | xargs --no-run-if-empty docker rm --force --volumes >/dev/null
docker network rm "$1" >/dev/null
`

// NewPatroni starts a cluster with synchronous or asynchronous replication, and removes it at the end of the test. It
// needs Docker on Linux, which lets this process reach the containers' addresses, and the image of .ci/patroni-image.
func NewPatroni(t testing.TB, synchronous bool) *Patroni {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	if err := docker(ctx, "image", "inspect", patroniImage); err != nil {
		unavailable(t, fmt.Errorf("run .ci/patroni-image: %w", err))
	}
	p := &Patroni{t: t, synchronous: synchronous, network: "points-patroni-" + strings.ToLower(rand.Text())}
	if err := p.createNetwork(ctx); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	guard, err := startGuard(guardScript(guardPatroni, p.network))
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			p.logContainers()
		}
		if err := guard.end(); err != nil {
			t.Errorf("pgtest: removing %s: %v", p.network, err)
		}
	})
	if err := p.start(ctx); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	p.AwaitHealthy()
	return p
}

// createNetwork creates a network whose addresses no other one has. Containers keep their addresses over restarts only
// if the network's subnet is given.
func (p *Patroni) createNetwork(ctx context.Context) error {
	var errs error
	for range 10 {
		p.subnet = fmt.Sprintf("10.%d.%d.", 128+mathrand.IntN(127), mathrand.IntN(255))
		err := docker(ctx, "network", "create", "--label", p.network, "--subnet", p.subnet+"0/24", p.network)
		if err == nil {
			return nil
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

func (p *Patroni) address(last int) string { return fmt.Sprintf("%s%d", p.subnet, last) }

// start starts all containers.
func (p *Patroni) start(ctx context.Context) error {
	etcd := "http://" + p.address(etcdAddress) + ":2379"
	if err := p.run(ctx, "etcd", etcdAddress, nil, "etcd", "--data-dir=/tmp/etcd", "--log-level=warn",
		"--listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls="+etcd); err != nil {
		return err
	}
	p.password = rand.Text()
	var servers strings.Builder
	for i := range patroniSize {
		name, address := fmt.Sprintf("pg%d", i+1), p.address(memberAddress+i)
		p.members = append(p.members, name)
		fmt.Fprintf(&servers, "\tserver %s %s:5432 check port 8008\n", name, address)
		if err := p.run(ctx, name, memberAddress+i, []string{
			"--user", "postgres", "--cap-add", "NET_ADMIN",
			"--env", "PATRONI_CONFIGURATION=" + p.configuration(name, address, etcd),
		}, "patroni"); err != nil {
			return err
		}
	}
	p.HAProxy = connectionString(p.password, p.address(haproxyAddress), "5432")
	return p.run(ctx, "haproxy", haproxyAddress, []string{
		"--user", "haproxy", "--env", "CONFIGURATION=" + patroniHAProxy + servers.String(),
	}, "sh", "-c", `printf %s "$CONFIGURATION" >/tmp/haproxy.cfg && exec haproxy -db -f /tmp/haproxy.cfg`)
}

// MultiHost returns the connection string of the superuser with the addresses of all members. Clients try them in their
// order, beginning with first.
func (p *Patroni) MultiHost(first string) string {
	hosts := []string{p.memberAddress(first) + ":5432"}
	for _, name := range p.members {
		if name != first {
			hosts = append(hosts, p.memberAddress(name)+":5432")
		}
	}
	return fmt.Sprintf("postgres://postgres:%s@%s/postgres?sslmode=disable&target_session_attrs=read-write",
		p.password, strings.Join(hosts, ","))
}

// run runs a command in a new container.
func (p *Patroni) run(ctx context.Context, name string, address int, options []string, command ...string) error {
	args := append([]string{
		"run", "--detach", "--name", p.container(name), "--hostname", name, "--label", p.network,
		"--network", p.network, "--ip", p.address(address),
	}, options...)
	return docker(ctx, append(append(args, patroniImage), command...)...)
}

func (p *Patroni) container(name string) string { return p.network + "-" + name }

// configuration returns Patroni's settings for a member, as JSON, which is YAML.
func (p *Patroni) configuration(name, address, etcd string) string {
	type object = map[string]any
	user := func(name string) object { return object{"username": name, "password": p.password} }
	text, err := json.Marshal(object{
		"scope": "points", "name": name,
		"restapi": object{"listen": "0.0.0.0:8008", "connect_address": address + ":8008"},
		"etcd3":   object{"hosts": strings.TrimPrefix(etcd, "http://")},
		"bootstrap": object{
			"dcs": object{
				"ttl": patroniTTL, "loop_wait": patroniLoopWait, "retry_timeout": patroniRetryTimeout,
				"synchronous_mode": p.synchronous,
				"postgresql":       object{"use_pg_rewind": true},
			},
			"initdb": []any{object{"encoding": "UTF8"}, "data-checksums"},
		},
		"postgresql": object{
			"listen": "0.0.0.0:5432", "connect_address": address + ":5432", "data_dir": "/var/lib/postgresql/data",
			"pg_hba": []string{
				"host all postgres 0.0.0.0/0 scram-sha-256",
				"host replication replicator 0.0.0.0/0 scram-sha-256",
			},
			"authentication": object{"superuser": user("postgres"), "replication": user("replicator")},
		},
	})
	if err != nil {
		p.t.Fatalf("pgtest: %v", err)
	}
	return string(text)
}

// patroniHAProxy is HAProxy's configuration without the servers. Patroni answers /primary with 200 on the primary
// alone.
const patroniHAProxy = `
defaults
	mode tcp
	timeout connect 1s
	timeout client 1h
	timeout server 1h
	timeout check 1s
listen primary
	bind :5432
	option httpchk OPTIONS /primary
	http-check expect status 200
	default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
`

// logContainers logs the ends of the containers' logs.
func (p *Patroni) logContainers() {
	for _, name := range append([]string{"etcd", "haproxy"}, p.members...) {
		text, err := p.logs(name)
		p.t.Logf("the log of %s (%v):\n%s", name, err, text[max(0, len(text)-20_000):])
	}
}

func (p *Patroni) logs(name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	text, err := exec.CommandContext(ctx, "docker", "logs", "--timestamps", p.container(name)).CombinedOutput()
	return string(text), err
}
