package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/pointsapp/pointsapp/points/pointshttp"
)

const (
	maxWatchers  = 100                    // open pages; further ones are rejected
	writeTimeout = 10 * time.Second       // a page that reads nothing for this time is disconnected
	closeTimeout = 100 * time.Millisecond // the same for Close
)

// events streams the history and then each snapshot to a page, until it disconnects.
func (d *Dashboard) events(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	if r.Method == http.MethodHead { // a response without a body would never end
		header.Set("Content-Type", "text/event-stream")
		header.Set("Cache-Control", "no-store")
		return
	}
	control := http.NewResponseController(w)
	watcher, past, ok := d.watch(control)
	if !ok {
		pointshttp.WriteProblem(w, http.StatusServiceUnavailable,
			fmt.Sprintf("%d live pages of this server are open, the most that it serves: close one of them.", maxWatchers))
		return
	}
	defer d.unwatch(watcher)
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would keep events until its buffer is full
	control.SetReadDeadline(time.Time{})  //nolint:errcheck // without a deadline there is nothing to reset
	write := func(text string, args ...any) error {
		if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, text, args...); err != nil {
			return err
		}
		return control.Flush()
	}
	err := write("retry: 1000\nevent: history\ndata: %s\n\n", past)
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

// watch adds a watcher, a channel that receives the latest snapshot at once and then each new one, as JSON. past is the
// history up to the latest snapshot, as JSON. control is that of the response to the page. ok is false if there are too
// many watchers.
func (d *Dashboard) watch(control *http.ResponseController) (watcher chan []byte, past []byte, ok bool) {
	_, updates := d.sampler.source.State(maxUpdates)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.watchers) == maxWatchers {
		return nil, nil, false
	}
	watcher = make(chan []byte, 1)
	d.watchers[watcher] = control
	if len(d.watchers) == 1 {
		d.sampler.source.Watch(true)
	}
	if d.latest != nil {
		watcher <- marshal(d.latest)
	}
	return watcher, marshal(d.history.columns(updates)), true
}

// unwatch removes a watcher.
func (d *Dashboard) unwatch(watcher chan []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watchers, watcher)
	if len(d.watchers) == 0 {
		d.sampler.source.Watch(false)
	}
}

// publish keeps a snapshot in the history and sends it to all watchers. It replaces one that a slow watcher has not
// received yet.
func (d *Dashboard) publish(current snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.history.add(current.Sample)
	d.latest = &current
	if len(d.watchers) == 0 {
		return
	}
	text := marshal(d.latest)
	for watcher := range d.watchers {
		select {
		case <-watcher:
		default:
		}
		watcher <- text
	}
}

func marshal(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // unreachable: there are only numbers, strings and times
	}
	return text
}
