package report

import (
	"bytes"
	_ "embed"
	"fmt"
)

//go:embed original.json
var originalJSON []byte

// Original returns the run in the README of the original, the Elixir application: `ab -k -n 10000 -c 100` on PostgreSQL
// with 1,000,000 users.
func Original() (*Run, error) {
	run, err := ReadJSON(bytes.NewReader(originalJSON))
	if err != nil {
		return nil, fmt.Errorf("embedded figures of the original: %w", err)
	}
	return run, nil
}
