package dashboard

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Problems keeps warnings and errors of a log for the page, grouped by level and message. It is safe for concurrent
// use.
type Problems struct {
	mu     sync.Mutex
	groups []Problem
	text   bytes.Buffer // attributes of the current record
}

// A Problem is a group of records.
type Problem struct {
	Level   string    `json:"level"` // WARN or ERROR
	Message string    `json:"message"`
	Detail  string    `json:"detail"` // attributes of the latest record
	Count   int       `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// maxProblems limits the groups: a new one replaces the one without a record for the longest time.
const maxProblems = 20

// Handler returns a handler that keeps the records of level warning or above.
func (p *Problems) Handler() slog.Handler {
	return problemsHandler{p, slog.NewTextHandler(&p.text, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return a
		},
	})}
}

// Latest returns the groups, the one with the latest record first.
func (p *Problems) Latest() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	latest := append([]Problem{}, p.groups...)
	slices.Reverse(latest)
	return latest
}

// A problemsHandler implements slog.Handler for Problems.
type problemsHandler struct {
	problems *Problems
	text     slog.Handler // writes the attributes to problems.text
}

func (h problemsHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

func (h problemsHandler) Handle(ctx context.Context, r slog.Record) error {
	p := h.problems
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Reset()
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	group := Problem{Level: r.Level.String(), Message: r.Message, First: r.Time.UTC()}
	if i := slices.IndexFunc(p.groups, func(g Problem) bool {
		return g.Level == group.Level && g.Message == group.Message
	}); i >= 0 {
		group = p.groups[i]
		p.groups = slices.Delete(p.groups, i, i+1)
	} else if len(p.groups) == maxProblems {
		p.groups = slices.Delete(p.groups, 0, 1)
	}
	group.Count++
	group.Last, group.Detail = r.Time.UTC(), strings.TrimSpace(p.text.String())
	p.groups = append(p.groups, group)
	return nil
}

func (h problemsHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return problemsHandler{h.problems, h.text.WithAttrs(attrs)}
}

func (h problemsHandler) WithGroup(name string) slog.Handler {
	return problemsHandler{h.problems, h.text.WithGroup(name)}
}
