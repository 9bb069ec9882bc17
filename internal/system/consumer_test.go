package system

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	module   = "github.com/pointsapp/pointsapp"
	consumer = "example.com/consumer"
)

// TestConsumer runs a program of another module that imports the library.
func TestConsumer(t *testing.T) {
	needFlag(t)
	source, err := os.ReadFile(filepath.Join("testdata", "consumer", "main.go"))
	require.NoError(t, err)
	c := newConsumer(t, string(source))
	c.run("vet", "./...")
	t.Log(c.run("run", "."))
}

// TestModules checks README.md's table of modules: how many modules a package compiles besides this one. The go.mod of
// a consumer gains exactly these lines.
func TestModules(t *testing.T) {
	needFlag(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| \\[`([a-z/]+)`\\].*\\| (\\d+) \\|$").FindAllStringSubmatch(string(readme), -1)
	documented := map[string]string{}
	for _, row := range rows {
		documented[row[1]] = row[2]
	}
	packages := []string{"points", "memstore", "pgstore", "points/storetest"}
	if _, err := os.Stat(filepath.Join(root, "points", "pointshttp")); err == nil {
		packages = append(packages, "points/pointshttp")
	}
	for _, path := range packages {
		t.Run(path, func(t *testing.T) {
			c := newConsumer(t, fmt.Sprintf("package main\n\nimport _ %q\n\nfunc main() {}\n", module+"/"+path))
			compiled := strings.Fields(c.run("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "."))
			slices.Sort(compiled)
			compiled = slices.Compact(compiled)
			compiled = slices.DeleteFunc(compiled, func(path string) bool { return path == module || path == consumer })
			assert.ElementsMatch(t, compiled, c.requirements(), "go.mod must require what is compiled, no more and no less")
			assert.Equal(t, strconv.Itoa(len(compiled)), documented[path],
				"README.md's table of modules must have a row for %s that ends with | %d |", path, len(compiled))
		})
	}
}

// A consumerModule is a module that imports this one, as it is in this working tree.
type consumerModule struct {
	t      *testing.T
	folder string
}

func newConsumer(t *testing.T, source string) *consumerModule {
	t.Helper()
	repository, err := filepath.Abs(root)
	require.NoError(t, err)
	c := &consumerModule{t, t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(c.folder, "main.go"), []byte(source), 0o600))
	c.run("mod", "init", consumer)
	c.run("mod", "edit", "-require", module+"@v0.0.0", "-replace", module+"="+repository)
	c.run("mod", "tidy")
	return c
}

// run runs the go command in the module.
func (c *consumerModule) run(args ...string) (text string) {
	c.t.Helper()
	cmd := command("go", args...)
	cmd.Dir = c.folder
	return output(c.t, cmd)
}

// requirements returns the paths of the modules that go.mod requires, without this one.
func (c *consumerModule) requirements() (paths []string) {
	c.t.Helper()
	var file struct{ Require []struct{ Path string } }
	text := c.run("mod", "edit", "-json")
	require.NoError(c.t, json.Unmarshal([]byte(text), &file)) //nolint:musttag // the fields have the command's names
	for _, required := range file.Require {
		if required.Path != module {
			paths = append(paths, required.Path)
		}
	}
	return paths
}
