package server

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// repeatsWindow is the time in which a repeated warning is counted instead of logged.
const repeatsWindow = time.Minute

// A repeatsHandler passes records to another handler, except for warnings with the message of one of the last minute.
// It counts those, and logs the count when the minute is over. With a short interval, each tick during an update is
// such a warning; so is each failed export while a collector is down.
type repeatsHandler struct {
	next     slog.Handler
	warnings *warnings // shared with the handlers of WithAttrs and WithGroup
}

// warnings counts the repeats of each warning of the last minute, by message. Messages are constants: there are few.
type warnings struct {
	mu      sync.Mutex
	repeats map[string]int
}

// collapseRepeats returns a handler that collapses warnings that repeat.
func collapseRepeats(next slog.Handler) slog.Handler {
	return repeatsHandler{next, &warnings{repeats: make(map[string]int)}}
}

// Enabled implements slog.Handler.
func (h repeatsHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h repeatsHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		if h.warnings.isRepeat(r.Message) {
			return nil
		}
		h.logRepeats(context.WithoutCancel(ctx), r.Message)
	}
	return h.next.Handle(ctx, r)
}

// isRepeat reports whether a warning was logged within the last minute, and counts it. Otherwise it starts a minute.
func (w *warnings) isRepeat(message string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.repeats[message]; !ok {
		w.repeats[message] = 0
		return false
	}
	w.repeats[message]++
	return true
}

// endMinute returns how often a warning was repeated in its minute. If that is not 0, it starts another minute.
func (w *warnings) endMinute(message string) (repeats int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	repeats = w.repeats[message]
	if repeats == 0 {
		delete(w.repeats, message)
	} else {
		w.repeats[message] = 0
	}
	return repeats
}

// logRepeats logs how often a warning was repeated, at the end of its minute and of each further minute with repeats.
func (h repeatsHandler) logRepeats(ctx context.Context, message string) {
	time.AfterFunc(repeatsWindow, func() {
		n := h.warnings.endMinute(message)
		if n == 0 {
			return
		}
		h.logRepeats(ctx, message)
		count := slog.NewRecord(time.Now(), slog.LevelWarn, "the same warning was repeated", 0)
		count.AddAttrs(slog.String("warning", message), slog.Int("times", n))
		h.next.Handle(ctx, count) //nolint:errcheck // as package slog does
	})
}

// WithAttrs implements slog.Handler.
func (h repeatsHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return repeatsHandler{h.next.WithAttrs(attrs), h.warnings}
}

// WithGroup implements slog.Handler.
func (h repeatsHandler) WithGroup(name string) slog.Handler {
	return repeatsHandler{h.next.WithGroup(name), h.warnings}
}
