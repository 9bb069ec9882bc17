// Package docs tests the documents: CI runs each of their commands, their Go compiles, their links lead somewhere.
package docs

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

const root = "../.."

var runThem = flag.Bool("commands", false, "run the commands of the documents as commands.txt says")

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m).Run())
}

// Each command is in commands.txt, and nothing else is.
func TestCommandsAreRun(t *testing.T) {
	table := readTable(t)
	documented := map[string]bool{}
	for path, text := range files(t, ".md") {
		for _, command := range commandsOf(text) {
			documented[command] = true
			assert.True(t, slices.ContainsFunc(table, func(e entry) bool { return e.command == command }),
				"%s has a command that CI does not run. Add these two lines to internal/docs/commands.txt "+
					"(its first lines say what else the second one can be):\n\n%s\n\trun\n\n", path, command)
		}
	}
	for _, e := range table {
		assert.True(t, documented[e.command],
			"internal/docs/commands.txt has a command that is in no document: remove it:\n\n%s\n", e.command)
		for _, how := range e.hows {
			assert.True(t, known(t, how), "internal/docs/commands.txt: no such phase or test: %s %s, for\n\n%s\n",
				how.verb, how.what, e.command)
		}
	}
}

// GitHub runs every phase of .ci/run.
func TestWorkflowRunsAllPhases(t *testing.T) {
	script, err := os.ReadFile(root + "/.ci/run")
	require.NoError(t, err)
	workflow, err := os.ReadFile(root + "/.github/workflows/ci.yml")
	require.NoError(t, err)
	steps := regexp.MustCompile(`run: \.ci/run (.*)`).FindAllStringSubmatch(string(workflow), -1)
	run := make([]string, 0, len(steps))
	for _, line := range steps {
		run = append(run, strings.Fields(line[1])...)
	}
	all := regexp.MustCompile(`(?m)^all=\((.*)\)$`).FindStringSubmatch(string(script))
	require.Len(t, all, 2, ".ci/run has no line all=(...)")
	assert.ElementsMatch(t, strings.Fields(all[1]), run)
}

// The README's first Go block is the package example of points, its output included.
func TestQuickstart(t *testing.T) {
	const example = "points/quickstart_test.go"
	_, block, ok := strings.Cut(files(t, ".md")["README.md"], "```go\n")
	require.True(t, ok, "README.md has no Go")
	block, _, _ = strings.Cut(block, "```")
	assert.Contains(t, unindented(files(t, ".go")[example]), unindented(block),
		"copy the first Go block of README.md from the Example in %s", example)
	assert.Contains(t, block, "// Output: ", "show the output of the Example, too")
}

// The Go in the documents is copied from Go files, which compile.
func TestGoIsCompiled(t *testing.T) {
	sources := files(t, ".go")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```")
	for path, text := range files(t, ".md") {
		for _, block := range blocks.FindAllStringSubmatch(text, -1) {
			found := false
			for _, source := range sources {
				found = found || strings.Contains(unindented(source), unindented(block[1]))
			}
			assert.True(t, found, "%s has Go code that is in no Go file. Copy it from one:\n\n%s", path, block[1])
		}
	}
}

func unindented(text string) string {
	return regexp.MustCompile(`(?m)^[\t ]+`).ReplaceAllString(text, "")
}

// The tests that documents and comments name exist.
func TestNamedTestsExist(t *testing.T) {
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
	sources := files(t, ".go")
	exist := map[string]bool{}
	for _, source := range sources {
		for _, name := range declaration.FindAllStringSubmatch(source, -1) {
			exist[name[1]] = true
		}
	}
	check := func(path, text, pattern string) {
		for _, name := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			assert.True(t, exist[name[1]], "%s names a test that does not exist: %s", path, name[1])
		}
	}
	for path, text := range files(t, ".md") {
		check(path, text, "`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")
	}
	for path, source := range sources {
		check(path, source, `(?m)// .*\b((?:Test|Fuzz|Benchmark)[A-Z]\w*)`)
	}
}

// Relative links lead to a file, and to a heading that it has.
func TestLinks(t *testing.T) {
	documents := files(t, ".md")
	links := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for path, text := range documents {
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, heading, _ := strings.Cut(link[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			_, err := os.Stat(filepath.Join(root, target))
			assert.NoError(t, err, "%s links to a file that does not exist: %s", path, link[1])
			if heading != "" && strings.HasSuffix(target, ".md") {
				assert.Contains(t, headingsOf(documents[target]), heading, "%s links to a heading that does not exist", path)
			}
		}
	}
}

// headingsOf returns a document's headings as GitHub names them in links.
func headingsOf(text string) (headings []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		headings = append(headings, strings.ReplaceAll(name, " ", "-"))
	}
	return headings
}

// files returns the contents of all files with the extension, by path from the root.
func files(t *testing.T, extension string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == extension {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			texts[filepath.ToSlash(name)] = string(text)
		}
		return nil
	}))
	return texts
}
