// Package docs keeps the documents true: each of their commands is run by CI, their Go is compiled, their links lead
// somewhere.
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

var runThem = flag.Bool("commands", false, "run the documents' commands, as commands.txt says")

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
					"(its head tells what else may be in the second one):\n\n%s\n\trun\n\n", path, command)
		}
	}
	for _, e := range table {
		assert.True(t, documented[e.command],
			"internal/docs/commands.txt has a command that is in no document any longer: take it out:\n\n%s\n", e.command)
		for _, how := range e.hows {
			assert.True(t, known(t, how), "internal/docs/commands.txt: there is no such phase or test: %s %s, for\n\n%s\n",
				how.verb, how.what, e.command)
		}
	}
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

// Whatever Go is in a document is in a Go file, too, and so is compiled.
func TestGoIsCompiled(t *testing.T) {
	sources := files(t, ".go")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```")
	for path, text := range files(t, ".md") {
		for _, block := range blocks.FindAllStringSubmatch(text, -1) {
			found := false
			for _, source := range sources {
				found = found || strings.Contains(unindented(source), unindented(block[1]))
			}
			assert.True(t, found, "%s has Go that is in no Go file. Copy it from one that is compiled:\n\n%s", path, block[1])
		}
	}
}

func unindented(text string) string {
	return regexp.MustCompile(`(?m)^[\t ]+`).ReplaceAllString(text, "")
}

// Links to files, and to headings of documents, lead there.
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
			assert.NoError(t, err, "%s links to a file that is not there: %s", path, link[1])
			if heading != "" && strings.HasSuffix(target, ".md") {
				assert.Contains(t, headingsOf(documents[target]), heading, "%s links to a heading that is not there", path)
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

// files returns the text of all files of a kind, by their paths from the root.
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
