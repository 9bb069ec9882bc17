package config

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The README's table has each flag, its variable and its default, in the order of -h, and nothing else.
func TestReadmeListsAllFlags(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	flags := cfg.flags()
	addActions(flags)
	var want []string
	flags.VisitAll(func(f *flag.Flag) {
		row := fmt.Sprintf("| `-%s` | `%s` | `%s` |", f.Name, variable(f), f.DefValue)
		if variable(f) == "" {
			row = fmt.Sprintf("| `-%s` | | |", f.Name)
		}
		want = append(want, strings.ReplaceAll(row, " `` ", " "))
	})
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^(\\| `-[a-z-]+` \\|.*\\|) .*\\|$").FindAllStringSubmatch(string(readme), -1)
	got := make([]string, 0, len(rows))
	for _, row := range rows {
		got = append(got, row[1])
	}
	assert.Equal(t, want, got, "In examples/server/README.md, the table under Flags is to have the rows that are expected "+
		"here, each followed by what the flag is for.")
}
