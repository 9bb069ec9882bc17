package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programs are the first words of commands.
var programs = []string{
	".ci/run", "ab", "chromium", "curl", "docker", "docker-compose", "git", "go", "gofmt", "kubectl", "loadtest", "make",
	"psql", "server",
}

var (
	inline      = regexp.MustCompile("`([^`]+)`")
	continued   = regexp.MustCompile(`\s*\\\n\s*`)
	trailing    = regexp.MustCompile(`\s+#\s.*$`)
	assignments = regexp.MustCompile(`^([A-Z_]+=('[^']*'|\S*)\s+)*`)
)

// commandsOf returns the commands in a document: those in code blocks, and inline code of two words or more.
func commandsOf(document string) (commands []string) {
	var text strings.Builder // outside of code blocks
	add := func(line string, least int) {
		line = strings.TrimSpace(trailing.ReplaceAllString(strings.TrimPrefix(strings.TrimSpace(line), "$ "), ""))
		words := strings.Fields(assignments.ReplaceAllString(line, ""))
		if len(words) >= least && slices.Contains(programs, words[0]) && !slices.Contains(commands, line) {
			commands = append(commands, line)
		}
	}
	fence := ""
	joined := continued.ReplaceAllString(document, " ")
	for line := range strings.Lines(joined) {
		marker, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && fence == "":
			fence = marker + "`"
		case isFence:
			fence = ""
		case fence == "`" || fence == "sh`" || fence == "console`":
			add(line, 1)
		case fence != "":
		case strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t"):
			add(line, 1)
		default:
			text.WriteString(strings.TrimSpace(line) + " ")
		}
	}
	for _, code := range inline.FindAllStringSubmatch(text.String(), -1) {
		add(code[1], 2)
	}
	return commands
}

func TestCommandsOf(t *testing.T) {
	assert.Equal(t, []string{
		"make", "go run ./examples/server", "A=1 B='2 3' go run .", "curl localhost:4000/", "ab -n 1 URL", "make bench",
		"go test ./bench -run '^$'",
	}, commandsOf("`make` or `make bench`, or `go test\n./bench -run '^$'`; `points`\n\n"+
		"    make          # what there is\n    $ go run ./examples/server  # 1 # 2\n    A=1 B='2 3' go run .\n    GET /\n\n"+
		"```sh\ncurl localhost:4000/\n```\n```\nab -n 1 \\\nURL\n```\n```go\ngo engine.Run(ctx)\n```\n"))
}

// An entry of commands.txt is a command and how CI runs it.
type entry struct {
	command string
	hows    []how
}

type how struct{ verb, what string }

func readTable(t *testing.T) (table []entry) {
	t.Helper()
	text, err := os.ReadFile("commands.txt")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \n")
		indented, isHow := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isHow:
			require.NotEmpty(t, table, "commands.txt must begin with a command")
			last := &table[len(table)-1]
			verb, what, _ := strings.Cut(strings.TrimSpace(indented), " ")
			last.hows = append(last.hows, how{verb, what})
		default:
			table = append(table, entry{command: line})
		}
	}
	for _, e := range table {
		require.NotEmpty(t, e.hows, "commands.txt must say, in a line below, how CI runs\n\n%s\n", e.command)
	}
	return table
}

// known reports whether the phase or test exists.
func known(t *testing.T, h how) bool {
	t.Helper()
	switch h.verb {
	case "run", "serve":
		return true
	case "phase":
		script, err := os.ReadFile(root + "/.ci/run")
		require.NoError(t, err)
		return strings.Contains(string(script), "phase_"+h.what+"()")
	case "test":
		for _, source := range files(t, ".go") {
			if strings.Contains(source, "\nfunc "+h.what+"(") {
				return true
			}
		}
	}
	return false
}
