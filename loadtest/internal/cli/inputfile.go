package cli

import (
	"context"
	"fmt"
	"os"
)

// readFile returns the content of a file, whose purpose an error names. If the file is a pipe or a terminal, it waits
// until all is read or ctx is done.
func readFile(ctx context.Context, name, purpose string) ([]byte, error) {
	read := func() ([]byte, error) {
		content, err := os.ReadFile(name) //nolint:gosec // named by the user
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", purpose, err)
		}
		return content, nil
	}
	if info, err := os.Stat(name); err != nil || info.Mode().IsRegular() {
		return read()
	}
	return await(ctx, read, fmt.Errorf("interrupted while reading %s", name))
}

// await returns the result of do, or the error interrupted if ctx is done first: what cannot be canceled, such as the
// open of a named pipe, is left to a goroutine, which may end only with the process.
func await[T any](ctx context.Context, do func() (T, error), interrupted error) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, interrupted
	}
}
