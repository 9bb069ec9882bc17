package cli

import (
	"context"
	"fmt"
	"os"
)

// readInput returns the result of read, which reads the file. If that is a pipe or a terminal, it waits until all is
// read or ctx is done: reading cannot be canceled, so it is left to a goroutine, which ends with the process if nothing
// is written to the pipe.
func readInput[T any](ctx context.Context, name string, read func() (T, error)) (T, error) {
	if info, err := os.Stat(name); err != nil || info.Mode().IsRegular() {
		return read()
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("interrupted while reading %s", name)
	}
}
