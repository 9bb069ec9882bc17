// Package dashboard serves a page that shows what a server does while it does it: embedded, without a build step,
// and without anything from elsewhere. What it shows comes over server-sent events, from what the server measures
// anyway. It costs nothing while nobody watches.
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

	"github.com/pointsapp/pointsapp/examples/server/page"
)

//go:embed assets
var assets embed.FS

// policy allows the page what is this server's alone.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

const (
	every       = 500 * time.Millisecond // there is something new to see
	mostWatch   = 100                    // pages at one moment; one more is refused
	writeWithin = 10 * time.Second       // a page that does not read is cut
)

// A Dashboard serves the page. It is safe for concurrent use.
type Dashboard struct {
	source Source
	closed chan struct{} // once the server shuts down

	mu       sync.Mutex
	watchers map[chan []byte]bool
	stop     context.CancelFunc // of the sampling; nil while nobody watches
}

// New returns the dashboard of what source tells. Close must be called before the server that serves it shuts down.
func New(source Source) *Dashboard {
	return &Dashboard{source: source, closed: make(chan struct{}), watchers: make(map[chan []byte]bool)}
}

// Close ends the events of all pages, which then look for the server again. It may be called once.
func (d *Dashboard) Close() { close(d.closed) }

// Handlers returns what answers, by path: /dashboard with the page, /dashboard/events with what it shows.
func (d *Dashboard) Handlers() (map[string]http.Handler, error) {
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		return nil, err
	}
	handlers := map[string]http.Handler{"/dashboard/events": page.Guarded(policy, http.HandlerFunc(d.events))}
	names, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	served := http.StripPrefix("/dashboard", http.FileServerFS(files))
	for _, name := range names {
		handlers["/dashboard/"+name.Name()] = page.Guarded(policy, served)
	}
	html, err := fs.ReadFile(files, "page.html")
	if err != nil {
		return nil, err
	}
	handlers["/dashboard"] = page.Guarded(policy, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(html) //nolint:errcheck // the client went away
	}))
	return handlers, nil
}

// events tells a page what there is to see, until it goes away.
func (d *Dashboard) events(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // a response without a body would never end
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		return
	}
	watcher, ok := d.watch() //nolint:contextcheck // the sampling is for all watchers
	if !ok {
		http.Error(w, "Too many pages are open.", http.StatusServiceUnavailable)
		return
	}
	defer d.leave(watcher)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Time{}) //nolint:errcheck // the request has been read
	write := func(text string, args ...any) error {
		if err := control.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
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
		case seen := <-watcher:
			err = write("data: %s\n\n", seen)
		case <-r.Context().Done():
			return
		case <-d.closed:
			return
		}
	}
}

// watch adds a watcher, which gets the latest snapshot; it reports false if there are too many. The first one starts
// the sampling.
func (d *Dashboard) watch() (chan []byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.watchers) == mostWatch {
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

// leave takes a watcher away. The last one stops the sampling.
func (d *Dashboard) leave(watcher chan []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watchers, watcher)
	if len(d.watchers) == 0 {
		d.source.Watch(false)
		d.stop()
		d.stop = nil
	}
}

// sample looks at the source again and again, until ctx ends.
func (d *Dashboard) sample(ctx context.Context) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var before counts
	for {
		var seen snapshot
		seen, before = d.source.look(before)
		text, err := json.Marshal(seen)
		if err != nil {
			panic(err) // numbers, strings and times
		}
		d.tell(text)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell gives all watchers the latest snapshot, in the place of one that they have not come to.
func (d *Dashboard) tell(text []byte) {
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
