package report

import "fmt"

// Plural returns n and the singular or plural form: "1 request", "2 requests". n is a number or a rate.
func Plural(n any, singular, plural string) string {
	text := fmt.Sprint(n)
	if text == "1" {
		return text + " " + singular
	}
	return text + " " + plural
}
