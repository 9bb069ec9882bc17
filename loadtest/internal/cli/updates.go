package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// An updatesResponse is the body of GET /updates.
type updatesResponse struct {
	Updates []struct {
		StartedAt time.Time  `json:"started_at"`
		EndedAt   *time.Time `json:"ended_at"`
		Failed    bool       `json:"failed"`
	} `json:"updates"`
}

// fetchUpdates returns when a PointsApp server updated its users during the run; nil on any error, because servers need
// not support the endpoint.
//
//	GET /updates
//	{"updates":[{"started_at":"2026-01-01T10:00:00Z","ended_at":"2026-01-01T10:00:01.2Z"},
//	            {"started_at":"2026-01-01T10:01:00Z","ended_at":null}]}
func fetchUpdates(ctx context.Context, r *run) []report.Update {
	if !r.contract.Checked { // not a PointsApp server
		return nil
	}
	if r.cfg.UnixSocket != "" || r.cfg.Proxy != nil { // the URL is not where the requests went
		return nil
	}
	body, err := getUpdates(ctx, r.cfg.URL)
	if err != nil {
		return nil
	}
	var updates []report.Update
	for _, u := range body.Updates {
		if u.EndedAt == nil && u.Failed {
			continue // the server that ran it crashed: its end is unknown
		}
		end := r.start.Add(r.summary.Elapsed) // if it is still running
		if u.EndedAt != nil {
			end = *u.EndedAt
		}
		update := report.Update{Start: u.StartedAt.Sub(r.start).Seconds(), End: end.Sub(r.start).Seconds()}
		if update.End > 0 && update.Start < r.summary.Elapsed.Seconds() {
			updates = append(updates, update)
		}
	}
	return updates
}

// getUpdates requests /updates from the server of the URL.
func getUpdates(ctx context.Context, server *url.URL) (body updatesResponse, err error) {
	const timeout, maxSize = 2 * time.Second, 1 << 20
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	u := *server
	u.Path, u.RawQuery = "/updates", ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return body, err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return body, err
	}
	defer resp.Body.Close() //nolint:errcheck // read errors show up in Decode
	if resp.StatusCode != http.StatusOK {
		return body, fmt.Errorf("status %d", resp.StatusCode)
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxSize)).Decode(&body)
	return body, err
}
