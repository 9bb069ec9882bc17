package docs

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Words that usually avoid the technical term are rare.
func TestWords(t *testing.T) {
	const allowed = 10
	avoided := regexp.MustCompile(`(?i)\b(told|tells of|whom|nobody may|who has it)\b`)
	var found []string
	for _, extension := range []string{".go", ".md", ".html", ".js", ".yaml", ".yml", ".example"} {
		for path, text := range files(t, extension) {
			if path == "internal/docs/words_test.go" {
				continue
			}
			number := 0
			for line := range strings.Lines(text) {
				number++
				if avoided.MatchString(line) {
					found = append(found, fmt.Sprintf("%s:%d: %s", path, number, strings.TrimSpace(line)))
				}
			}
		}
	}
	assert.LessOrEqual(t, len(found), allowed, strings.Join(found, "\n"))
}
