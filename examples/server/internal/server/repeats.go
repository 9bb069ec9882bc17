package server

import (
	"context"
	"log/slog"
	"sync"
)

// A repeatsHandler passes records to another handler, except for warnings with the message of the record before. It
// counts those, and logs the count before the next other record. With a short interval, each tick during an update is
// such a warning.
type repeatsHandler struct {
	next slog.Handler
	last *lastWarning // shared with the handlers of WithAttrs and WithGroup
}

type lastWarning struct {
	mu      sync.Mutex
	message string // "" if the latest record was no warning
	repeats int
}

// Enabled implements slog.Handler. Records that next does not log end a series of warnings, too.
func (h repeatsHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h repeatsHandler) Handle(ctx context.Context, r slog.Record) error {
	h.last.mu.Lock()
	defer h.last.mu.Unlock()
	if r.Level == slog.LevelWarn && r.Message == h.last.message {
		h.last.repeats++
		return nil
	}
	if h.last.repeats > 0 && h.next.Enabled(ctx, slog.LevelWarn) {
		count := slog.NewRecord(r.Time, slog.LevelWarn, "the same warning was repeated", 0)
		count.AddAttrs(slog.String("warning", h.last.message), slog.Int("times", h.last.repeats))
		if err := h.next.Handle(ctx, count); err != nil {
			return err
		}
	}
	h.last.message, h.last.repeats = "", 0
	if r.Level == slog.LevelWarn {
		h.last.message = r.Message
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h repeatsHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return repeatsHandler{h.next.WithAttrs(attrs), h.last}
}

// WithGroup implements slog.Handler.
func (h repeatsHandler) WithGroup(name string) slog.Handler {
	return repeatsHandler{h.next.WithGroup(name), h.last}
}
