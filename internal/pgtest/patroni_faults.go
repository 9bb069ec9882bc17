package pgtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Primary returns the name of the primary.
func (p *Patroni) Primary() string {
	p.t.Helper()
	return p.AwaitPrimary("")
}

// AwaitPrimary waits until a member other than old is the primary, and returns its name.
func (p *Patroni) AwaitPrimary(old string) (name string) {
	p.t.Helper()
	p.await("primary other than "+old, func(members []patroniMember) bool {
		for _, m := range members {
			if m.Role == "leader" && m.State == "running" && m.Name != old {
				name = m.Name
			}
		}
		return name != ""
	})
	return name
}

// AwaitHealthy waits until there is a primary and all other members are its streaming standbys, one of them synchronous
// if the cluster is.
func (p *Patroni) AwaitHealthy() {
	p.t.Helper()
	p.await("healthy cluster", func(members []patroniMember) bool {
		counts := map[string]int{}
		for _, m := range members {
			counts[m.Role+" "+m.State]++
			if m.Timeline != members[0].Timeline {
				return false
			}
		}
		synchronous := counts["sync_standby streaming"]
		return counts["leader running"] == 1 && (synchronous == 1) == p.synchronous &&
			synchronous+counts["replica streaming"] == patroniSize-1
	})
}

// A patroniMember is a member in the answer of Patroni's REST API.
type patroniMember struct {
	Name     string `json:"name"`
	Role     string `json:"role"`
	State    string `json:"state"`
	Timeline int    `json:"timeline"`
}

// await waits until the members, as etcd has them, fulfil a condition.
func (p *Patroni) await(what string, condition func([]patroniMember) bool) {
	p.t.Helper()
	var latest string
	for deadline := time.Now().Add(runTimeout); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		for _, name := range p.members {
			text, err := p.request(name, http.MethodGet, "/cluster", "", time.Second)
			if err != nil {
				continue // it may be down
			}
			latest = text
			var cluster struct {
				Members []patroniMember `json:"members"`
			}
			if err := json.Unmarshal([]byte(text), &cluster); err != nil {
				p.t.Fatalf("pgtest: %s: %v", text, err)
			}
			if condition(cluster.Members) {
				return
			}
			break
		}
	}
	p.t.Fatalf("pgtest: there is no %s: %s", what, latest)
}

// request sends a request to the REST API of a member.
func (p *Patroni) request(member, method, path, body string, timeout time.Duration) (answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	url := "http://" + p.memberAddress(member) + ":8008" + path
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, text)
	}
	return string(text), err
}

func (p *Patroni) memberAddress(member string) string {
	return p.address(memberAddress + slices.Index(p.members, member))
}

// Switchover makes a standby the primary, as an operator does for maintenance.
func (p *Patroni) Switchover() {
	p.t.Helper()
	primary := p.Primary()
	_, err := p.request(primary, http.MethodPost, "/switchover", `{"leader": "`+primary+`"}`, runTimeout)
	if err != nil {
		p.t.Fatalf("pgtest: %v", err)
	}
}

// Kill kills a member and its Patroni, as a power failure would.
func (p *Patroni) Kill(member string) { p.docker("kill", p.container(member)) }

// Start starts a killed member.
func (p *Patroni) Start(member string) { p.docker("start", p.container(member)) }

// Partition drops all packets between a member and the other members and etcd. Clients still reach it.
func (p *Patroni) Partition(member string) {
	p.t.Helper()
	others := []string{p.address(etcdAddress)}
	for _, name := range p.members {
		if name != member {
			others = append(others, p.memberAddress(name))
		}
	}
	list := strings.Join(others, ",")
	p.drop(member, "--source "+list, "--destination "+list)
}

// Isolate drops all packets from and to a member.
func (p *Patroni) Isolate(member string) {
	p.t.Helper()
	p.drop(member, "! --in-interface lo", "! --out-interface lo")
}

// Reconnect ends the effect of Partition or Isolate.
func (p *Patroni) Reconnect(member string) {
	p.t.Helper()
	p.docker("exec", "--user", "root", p.container(member), "iptables", "--wait", "--flush")
}

// Hang stops a member's Patroni, but not its PostgreSQL, which stays a primary if it is one.
func (p *Patroni) Hang(member string) { p.signal(member, "STOP") }

// Resume ends the effect of Hang.
func (p *Patroni) Resume(member string) { p.signal(member, "CONT") }

func (p *Patroni) signal(member, signal string) {
	p.t.Helper()
	p.docker("exec", p.container(member), "sh", "-c", `for process in /proc/[0-9]*; do
		if [ "$(cat "$process/comm")" = patroni ]; then kill -`+signal+` "${process#/proc/}"; fi
	done`)
}

// drop drops the packets that match.
func (p *Patroni) drop(member, input, output string) {
	p.t.Helper()
	p.docker("exec", "--user", "root", p.container(member), "sh", "-c", "iptables --wait --append INPUT "+input+
		" --jump DROP && iptables --wait --append OUTPUT "+output+" --jump DROP")
}

// Rewinds returns how often pg_rewind has turned a member into a standby.
func (p *Patroni) Rewinds(member string) int {
	p.t.Helper()
	text, err := p.logs(member)
	if err != nil {
		p.t.Fatalf("pgtest: %v", err)
	}
	return strings.Count(text, "pg_rewind exit code=0")
}

func (p *Patroni) docker(args ...string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	if err := docker(ctx, args...); err != nil {
		p.t.Fatalf("pgtest: %v", err)
	}
}
