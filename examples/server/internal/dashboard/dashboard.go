// Package dashboard serves a live page with a server's state. The page is embedded, needs no build step and loads
// nothing from other servers. It receives snapshots of the server's metrics by server-sent events; none are taken while
// no page is open.
package dashboard

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/examples/server/internal/page"
)

//go:embed assets
var assets embed.FS

// policy is the page's Content-Security-Policy: everything comes from this server, and nothing is inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

const (
	interval     = 500 * time.Millisecond // between two snapshots
	maxWatchers  = 100                    // open pages; further ones are rejected
	writeTimeout = 10 * time.Second       // a page that does not read for so long is disconnected
)

// A Dashboard serves the page. It is safe for concurrent use.
type Dashboard struct {
	source Source
	closed chan struct{} // closed by Close

	mu       sync.Mutex
	watchers map[chan []byte]bool // one for each open page
	stop     context.CancelFunc   // stops the sampling; nil while no page is open
}

// New returns a dashboard that shows source. Close must be called when the server that serves it shuts down.
func New(source Source) *Dashboard {
	return &Dashboard{source: source, closed: make(chan struct{}), watchers: make(map[chan []byte]bool)}
}

// Close ends the event streams of all pages, which then try to reconnect. It may be called once.
func (d *Dashboard) Close() { close(d.closed) }

// Handlers returns the handlers by path: /dashboard and its files, and /dashboard/events, the stream of snapshots.
func (d *Dashboard) Handlers() (map[string]http.Handler, error) {
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		return nil, err
	}
	handlers := map[string]http.Handler{"/dashboard/events": page.Secure(policy, http.HandlerFunc(d.events))}
	names, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	fileServer := http.StripPrefix("/dashboard", http.FileServerFS(files))
	for _, name := range names {
		handlers["/dashboard/"+name.Name()] = page.Secure(policy, fileServer)
	}
	html, err := fs.ReadFile(files, "page.html")
	if err != nil {
		return nil, err
	}
	handlers["/dashboard"] = page.Secure(policy, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(html) //nolint:errcheck // the client has gone
	}))
	return handlers, nil
}

// events streams snapshots to a page until it disconnects.
func (d *Dashboard) events(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // a response without a body would never end
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		return
	}
	watcher, ok := d.watch() //nolint:contextcheck // the sampling outlives this request
	if !ok {
		http.Error(w, "Too many dashboards are open.", http.StatusServiceUnavailable)
		return
	}
	defer d.unwatch(watcher)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events until its buffer is full
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Time{}) //nolint:errcheck // without a deadline there is nothing to reset
	write := func(text string, args ...any) error {
		if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, text, args...); err != nil {
			return err
		}
		return control.Flush()
	}
	err := write("retry: 1000\n\n")
	for err == nil {
		select {
		case snapshot := <-watcher:
			err = write("data: %s\n\n", snapshot)
		case <-r.Context().Done():
			return
		case <-d.closed:
			return
		}
	}
}

// watch adds a watcher, a channel that gets each snapshot. It returns false if there are too many. The first watcher
// starts the sampling.
func (d *Dashboard) watch() (chan []byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.watchers) == maxWatchers {
		return nil, false
	}
	watcher := make(chan []byte, 1)
	d.watchers[watcher] = true
	if d.stop == nil {
		var ctx context.Context
		ctx, d.stop = context.WithCancel(context.Background())
		d.source.Watch(true)
		go d.sample(ctx)
	}
	return watcher, true
}

// unwatch removes a watcher. The last one stops the sampling.
func (d *Dashboard) unwatch(watcher chan []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watchers, watcher)
	if len(d.watchers) == 0 {
		d.source.Watch(false)
		d.stop()
		d.stop = nil
	}
}

// sample publishes a snapshot of the source at each interval until ctx ends.
func (d *Dashboard) sample(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var previous counts
	for {
		var current snapshot
		current, previous = d.source.snapshot(previous)
		text, err := json.Marshal(current)
		if err != nil {
			panic(err) // unreachable: there are only numbers, strings and times
		}
		d.publish(text)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// publish sends a snapshot to all watchers. It replaces one that a slow watcher has not received yet.
func (d *Dashboard) publish(text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for watcher := range d.watchers {
		select {
		case <-watcher:
		default:
		}
		watcher <- text
	}
}
