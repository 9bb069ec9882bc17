package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// withoutSecrets returns the connection string as a URL without its secret parameters, and the names of these. u must
// be valid.
func (u DatabaseURL) withoutSecrets() (shown string, hidden []string) {
	scheme, rest, ok := strings.Cut(string(u), "://")
	if !ok || scheme != "postgres" && scheme != "postgresql" {
		return u.fromKeywords()
	}
	rest, query, _ := strings.Cut(rest, "?")
	if user, host, ok := strings.Cut(rest, "@"); ok {
		name, password, _ := strings.Cut(user, ":")
		if rest = name + "@" + host; password != "" {
			hidden = append(hidden, "password")
		}
	}
	var parameters []string
	for parameter := range strings.SplitSeq(query, "&") {
		encoded, _, _ := strings.Cut(parameter, "=")
		name, err := url.PathUnescape(strings.Trim(encoded, " "))
		switch {
		case parameter == "":
		case err != nil || secretName.MatchString(name):
			hidden = append(hidden, name)
		default:
			parameters = append(parameters, parameter)
		}
	}
	return joinURL(scheme+"://"+rest, parameters), hidden
}

// fromKeywords is withoutSecrets for a connection string of keywords and values.
func (u DatabaseURL) fromKeywords() (shown string, hidden []string) {
	var parameters []string
	for rest := string(u); ; {
		match := keyword.FindStringSubmatch(rest)
		if match == nil {
			return joinURL("postgres:///", parameters), hidden
		}
		rest = rest[len(match[0]):]
		name, value := match[1], escaped.ReplaceAllString(match[2]+match[3], "$1")
		switch {
		case secretName.MatchString(name):
			hidden = append(hidden, name)
		case name == "user" && value == "": // pgx ignores it here, but not in a URL
		default:
			// PostgreSQL does not decode + as a space.
			parameters = append(parameters, name+"="+strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
		}
	}
}

// joinURL returns a URL with parameters. Control characters are escaped, so that it fits on a line of an env file.
func joinURL(base string, parameters []string) string {
	if len(parameters) > 0 {
		base += "?" + strings.Join(parameters, "&")
	}
	return control.ReplaceAllStringFunc(base, func(c string) string { return fmt.Sprintf("%%%02X", c[0]) })
}

var (
	// secretName matches the names of secret parameters, password and sslpassword, and similar ones, which may be
	// misspelt. It does not match passfile, the path of a file.
	secretName = regexp.MustCompile(`(?i)pass?w|^pass$|pwd|secret|token`)

	// keyword matches a keyword, and its value in quotes or without, at the start of a connection string.
	keyword = regexp.MustCompile(`(?s)^[\s\v]*([^=]+?)[\s\v]*=[\s\v]*` +
		`(?:'((?:\\.|[^'\\])*)'|((?:(?:\\.|[^\\'\s\v])(?:\\.|[^\\\s\v])*)?\\?))`)

	escaped = regexp.MustCompile(`(?s)\\(.?)`)      // a character after a backslash, in a value
	control = regexp.MustCompile(`[\x00-\x1f\x7f]`) // a control character
)
