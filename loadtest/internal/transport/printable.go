package transport

import (
	"strings"
	"unicode"
)

// Printable returns text from a server as one line for a report: it replaces what is not printable, such as line breaks
// and escape sequences that could control the terminal, by spaces.
func Printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s))
}
