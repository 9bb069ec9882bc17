package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/report"
)

// fetchUpdates asks a PointsApp server when it updated its users. A server that does not tell is no error: nothing is
// shaded then.
//
//	GET /updates
//	{"updates":[{"started_at":"2026-01-01T10:00:00Z","ended_at":"2026-01-01T10:00:01.2Z"},
//	            {"started_at":"2026-01-01T10:01:00Z","ended_at":null}]}
func fetchUpdates(ctx context.Context, t *trial) []report.Update {
	const patience, maxSize = 2 * time.Second, 1 << 20
	if !t.checked.Checked {
		return nil // no PointsApp
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	u := *t.cfg.url
	u.Path, u.RawQuery = "/updates", ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close() //nolint:errcheck // what was read of it decides
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	var told struct {
		Updates []struct {
			StartedAt time.Time  `json:"started_at"`
			EndedAt   *time.Time `json:"ended_at"`
		} `json:"updates"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, maxSize)).Decode(&told) != nil {
		return nil
	}
	var updates []report.Update
	for _, u := range told.Updates {
		end := t.began.Add(t.summary.Elapsed) // one that still runs
		if u.EndedAt != nil {
			end = *u.EndedAt
		}
		update := report.Update{Start: u.StartedAt.Sub(t.began).Seconds(), End: end.Sub(t.began).Seconds()}
		if update.End > 0 && update.Start < t.summary.Elapsed.Seconds() {
			updates = append(updates, update)
		}
	}
	return updates
}
