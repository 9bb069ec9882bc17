package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each row of the table of set-ups names tests that exist, and each test of a set-up has a row.
func TestSetups(t *testing.T) {
	sources := files(t, ".go")
	rows := regexp.MustCompile(`(?m)^\| .* \|$`).FindAllString(files(t, ".md")["docs/postgres.md"], -1)
	require.NotEmpty(t, rows)
	named := map[string]bool{}
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		if len(cells) != 5 || strings.TrimSpace(cells[0]) == "set-up" {
			continue // of another table
		}
		tests := regexp.MustCompile("`(Test\\w+)(?:/([^`]+))?`").FindAllStringSubmatch(cells[4], -1)
		assert.NotEmpty(t, tests, "the row names no test: %s", row)
		for _, test := range tests {
			name, subtest := test[1], test[2]
			named[name] = true
			assert.True(t, hasTest(sources, name, subtest), "there is no test %s: %s", test[0], row)
		}
	}
	for _, path := range []string{ // their tests are about set-ups
		"pgstore/citus_test.go", "pgstore/layout_test.go", "pgstore/modes_test.go", "pgstore/pgbouncer_test.go",
		"pgstore/unlogged_test.go", "pgstore/waits_test.go",
	} {
		require.Contains(t, sources, path)
		for _, test := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(sources[path], -1) {
			assert.True(t, named[test[1]], "the table in docs/postgres.md needs a row for %s of %s", test[1], path)
		}
	}
}

// hasTest reports whether a file has the test, and also the subtest unless it is "".
func hasTest(sources map[string]string, name, subtest string) bool {
	for path, source := range sources {
		if strings.HasSuffix(path, "_test.go") && strings.Contains(source, "\nfunc "+name+"(") {
			return subtest == "" || strings.Contains(source, `"`+subtest+`":`)
		}
	}
	return false
}
