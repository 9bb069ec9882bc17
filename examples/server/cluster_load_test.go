//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/points"
)

// A clusterLoad is clients that query a cluster and record its answers.
type clusterLoad struct {
	url     string
	client  *http.Client
	history *linearizability.ClientHistory
	stop    func()

	mu       sync.Mutex
	answers  int
	latest   time.Time            // answer
	gap      time.Duration        // longest time without an answer
	slowest  time.Duration        // answer
	failures map[string]int       // by kind
	byServer map[string]time.Time // the latest answer of each server
}

// startClusterLoad starts clients of a URL. They are stopped at the end of the test.
func startClusterLoad(t *testing.T, url string, history *linearizability.ClientHistory) *clusterLoad {
	transport := &http.Transport{MaxIdleConnsPerHost: clusterClients}
	l := &clusterLoad{
		url: url, client: &http.Client{Transport: transport, Timeout: 20 * time.Second}, history: history,
		failures: make(map[string]int), byServer: make(map[string]time.Time),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for range clusterClients {
		clients.Go(func() {
			for ctx.Err() == nil {
				pause := 30 * time.Millisecond // the load is not what is tested
				if !l.query(context.WithoutCancel(ctx)) {
					pause *= 3
				}
				<-time.After(pause)
			}
		})
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		clients.Wait()
		transport.CloseIdleConnections()
	})
	t.Cleanup(l.stop)
	return l
}

// query makes one query and records it. It reports whether it was answered.
func (l *clusterLoad) query(ctx context.Context) bool {
	called := time.Now()
	result, server, sent, err := l.get(ctx)
	returned := time.Now()
	if err != nil {
		sent++ // at least this one, whose outcome is unknown
	}
	for range sent - 1 {
		l.history.Failed(called)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failures[failureKind(err)]++
		return false
	}
	l.history.Answered(called, returned, result)
	if l.answers++; l.answers > 1 {
		l.gap = max(l.gap, returned.Sub(l.latest))
	}
	l.latest = returned
	l.slowest = max(l.slowest, returned.Sub(called))
	l.byServer[server] = returned
	return true
}

// get makes a query, and returns its result, the name of the server, and how often the request was sent: net/http sends
// it again if a kept connection is closed before the response.
func (l *clusterLoad) get(ctx context.Context) (result points.Result, server string, sent int, err error) {
	var requests atomic.Int64
	trace := &httptrace.ClientTrace{WroteHeaders: func() { requests.Add(1) }}
	ctx = httptrace.WithClientTrace(ctx, trace)
	defer func() { sent = int(requests.Load()) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return result, "", 0, err
	}
	response, err := l.client.Do(request)
	if err != nil {
		return result, "", 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return result, "", 0, err
	}
	if response.StatusCode != http.StatusOK {
		return result, "", 0, statusError{response.StatusCode, body}
	}
	var answer struct {
		Users     []points.User `json:"users"`
		Timestamp *time.Time    `json:"timestamp"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return result, "", 0, err
	}
	result.Users = answer.Users
	if answer.Timestamp != nil {
		result.PreviousTimestamp = *answer.Timestamp
	}
	return result, response.Header.Get("X-Server"), 0, nil
}

// A statusError is a response without an answer.
type statusError struct {
	status int
	body   []byte
}

func (e statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// failureKind returns what a client saw of a failed query: a status, with the type of the problem if a server sent it.
func failureKind(err error) string {
	var status statusError
	if !errors.As(err, &status) {
		return "no response"
	}
	if json.Valid(status.body) {
		return fmt.Sprintf("%d of a server", status.status)
	}
	return fmt.Sprintf("%d of HAProxy", status.status)
}

// answered returns the number of answers.
func (l *clusterLoad) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers
}

// sinceAnswer returns the time since the latest answer.
func (l *clusterLoad) sinceAnswer() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.latest)
}

// serversSince returns the servers that have answered since a time.
func (l *clusterLoad) serversSince(since time.Time) (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, at := range l.byServer {
		if at.After(since) {
			names = append(names, name)
		}
	}
	return names
}

// String returns how long clients had to wait.
func (l *clusterLoad) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("slowest answer %v, longest time without an answer %v, failures %v",
		l.slowest.Round(time.Millisecond), l.gap.Round(time.Millisecond), l.failures)
}
