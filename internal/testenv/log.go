package testenv

import (
	"bytes"
	"sync"
)

// A Log keeps what a program or a logger writes. The zero value is empty. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

// String returns the text.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Drain returns the text and drops it.
func (l *Log) Drain() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.String()
	l.text = bytes.Buffer{} // Reset would keep its memory
	return text
}
