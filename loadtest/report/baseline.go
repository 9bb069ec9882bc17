package report

import (
	"bytes"
	_ "embed"
	"fmt"
)

//go:embed seed.json
var seed []byte

// Seed returns the run that the README of the original PointsApp tells of: `ab -k -n 10000 -c 100` against its Elixir
// server on PostgreSQL with 1,000,000 users.
func Seed() (*Run, error) {
	run, err := ReadJSON(bytes.NewReader(seed))
	if err != nil {
		return nil, fmt.Errorf("report: the baseline in the program: %w", err)
	}
	return run, nil
}
