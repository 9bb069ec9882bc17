// Package dashboard serves a live page with a server's state. The page is embedded, needs no build step and loads
// nothing from other hosts.
//
// Once a second the dashboard takes a sample of the server's metrics, and it keeps those of the last half hour. An open
// page receives them, and then each new one, by server-sent events:
//
//	page := dashboard.New(source)
//	go page.Run()           // takes the samples
//	page.Handlers()         // /dashboard and what is below it
//	page.Close()            // ends Run and all open pages
package dashboard

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/examples/server/internal/page"
	"github.com/pointsapp/pointsapp/internal/uplot"
)

//go:embed assets
var assets embed.FS

// policy is the page's Content-Security-Policy: everything comes from this server, and nothing is inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// interval is the time between two samples.
const interval = time.Second

// A Dashboard serves the page. It is safe for concurrent use.
type Dashboard struct {
	sampler sampler       // for Run alone
	closed  chan struct{} // closed by Close

	mu       sync.Mutex
	history  history
	latest   *snapshot                                // nil before the first one
	watchers map[chan []byte]*http.ResponseController // one for each open page
}

// New returns a dashboard that shows source. Run takes the samples; Close ends it.
func New(source Source) *Dashboard {
	return &Dashboard{
		sampler: sampler{source: source}, closed: make(chan struct{}),
		watchers: make(map[chan []byte]*http.ResponseController),
	}
}

// Run takes samples, and sends them to the open pages, until Close is called. It may be called once.
func (d *Dashboard) Run() {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		d.publish(d.sampler.next())
		select {
		case <-ticker.C:
		case <-d.closed:
			return
		}
	}
}

// Close ends Run and the event streams of all pages, which then try to reconnect. It may be called once.
func (d *Dashboard) Close() {
	close(d.closed)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, control := range d.watchers { // a page that does not read must not delay the shutdown
		control.SetWriteDeadline(time.Now().Add(closeTimeout)) //nolint:errcheck // then the page has disconnected
	}
}

// Handlers returns the handlers by path: /dashboard and its files, and /dashboard/events, the stream of snapshots. The
// page's links are relative: it works below any prefix.
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
	for path, file := range map[string]struct{ name, text string }{
		"/dashboard":              {"page.html", string(html)},
		"/dashboard/uPlot.min.js": {"uPlot.min.js", uplot.JS}, "/dashboard/uPlot.min.css": {"uPlot.min.css", uplot.CSS},
	} {
		handlers[path] = page.Secure(policy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, file.name, time.Time{}, strings.NewReader(file.text))
		}))
	}
	return handlers, nil
}
