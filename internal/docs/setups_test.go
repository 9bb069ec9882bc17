package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each row of the table of set-ups names tests that exist, each test of a set-up has a row, and the rows of TestCheck
// have the result that TestCheck expects.
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
		result := strings.TrimSpace(cells[1])
		tests := regexp.MustCompile("`(Test\\w+)(?:/([^`]+))?`").FindAllStringSubmatch(cells[4], -1)
		assert.NotEmpty(t, tests, "the row names no test: %s", row)
		for _, test := range tests {
			name, subtest := test[1], test[2]
			named[name] = true
			assert.True(t, hasTest(sources, name, subtest), "there is no test %s: %s", test[0], row)
			if name == "TestCheck" {
				assert.Equal(t, outcomeInTest(t, sources["pgstore/check_test.go"], subtest), outcomeInTable(result),
					"Check's result in %s: %s", test[0], row)
			}
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

// outcomeInTable returns what Check does in a set-up with this result.
func outcomeInTable(result string) string {
	switch word, _, _ := strings.Cut(result, " "); strings.TrimRight(word, ",;") {
	case "refused":
		return "refused"
	case "warning", "slow":
		return "warning"
	}
	return "nothing"
}

// outcomeInTest returns what Check does by the case of TestCheck with this name, whose fields are the set-up, the error
// and the warning.
func outcomeInTest(t *testing.T, source, name string) (result string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "check_test.go", source, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		key, ok := pair.Key.(*ast.BasicLit)
		if !ok || key.Value != strconv.Quote(name) {
			return true
		}
		fields := pair.Value.(*ast.CompositeLit).Elts
		empty := func(i int) bool {
			text, ok := fields[i].(*ast.BasicLit)
			return ok && len(text.Value) == len(`""`)
		}
		switch {
		case !empty(1):
			result = "refused"
		case !empty(2):
			result = "warning"
		default:
			result = "nothing"
		}
		return false
	})
	require.NotEmpty(t, result, "TestCheck has no case %q", name)
	return result
}

// hasTest reports whether there is a test with this name and, unless it is "", this subtest.
func hasTest(sources map[string]string, name, subtest string) bool {
	for path, source := range sources {
		if !strings.HasSuffix(path, "_test.go") {
			continue
		}
		_, body, ok := strings.Cut(source, "\nfunc "+name+"(")
		if !ok {
			continue
		}
		body, _, _ = strings.Cut(body, "\n}\n")
		quoted := strconv.Quote(subtest)
		return subtest == "" || strings.Contains(body, quoted+":") || strings.Contains(body, "t.Run("+quoted+",")
	}
	return false
}
