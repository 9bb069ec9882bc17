package docs

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Examples are programs: no package outside an example imports any of its packages, in tests either.
func TestNothingImportsExamples(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-f",
		`{{$path := .ImportPath}}{{range .Imports}}{{$path}} {{.}}{{"\n"}}{{end}}{{range .TestImports}}{{$path}} {{.}}{{"\n"}}{{end}}`+
			`{{range .XTestImports}}{{$path}} {{.}}{{"\n"}}{{end}}`, "./...")
	list.Dir = root
	output, err := list.Output()
	require.NoError(t, err)
	imports := strings.Fields(string(output))
	require.NotEmpty(t, imports)
	for i := 0; i < len(imports); i += 2 {
		if example, ok := strings.CutPrefix(imports[i+1], module+"/examples/"); ok {
			name, _, _ := strings.Cut(example, "/")
			assert.Regexp(t, "^"+module+"/examples/"+name+"(/|$)", imports[i], "it imports %s", imports[i+1])
		}
	}
}

// The HTTP handler needs nothing but the standard library, and what package points needs.
func TestHandlerNeedsNoModules(t *testing.T) {
	t.Parallel()
	dependencies := func(pkg string) []string {
		list := exec.Command("go", "list", "-deps", "-f", `{{if not .Standard}}{{with .Module}}{{.Path}}{{end}}{{end}}`, pkg)
		list.Dir = root
		output, err := list.Output()
		require.NoError(t, err)
		return strings.Fields(string(output))
	}
	assert.Subset(t, dependencies("./points"), dependencies("./points/pointshttp"))
}
