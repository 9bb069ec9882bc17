package flags

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// setURL parses the only positional argument, and the URL of -compare.
func (cfg *Config) setURL(args []string) (err error) {
	cfg.RequestTarget = "/"
	if strings.Contains(cfg.Compare, "://") {
		if cfg.CompareURL, cfg.CompareTarget, err = parseURL(cfg.Compare); err != nil {
			return fmt.Errorf("-compare: %w", err)
		}
	}
	if len(args) == 0 {
		cfg.Reference = true
		return nil
	}
	if isJSON(args[len(args)-1]) && (isJSON(cfg.Compare) || args[0] == "compare") {
		return errors.New("to compare the runs of two -json files, use loadtest merge -compare OLD.json NEW.json")
	}
	if len(args) > 1 {
		return fmt.Errorf("the URL must be the last argument, got %q after it", maskPassword(args[1]))
	}
	cfg.URL, cfg.RequestTarget, err = parseURL(args[0])
	if _, _, target := splitURL(cfg.Compare); target == "" {
		cfg.CompareTarget = cfg.RequestTarget
	}
	return err
}

func isJSON(name string) bool {
	return strings.HasSuffix(name, ".json") && !strings.Contains(name, "://")
}

// parseURL parses a URL. As in ab, http:// may be omitted, and the path and query are sent exactly as they are given.
func parseURL(s string) (u *url.URL, target string, err error) {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, "", errors.New("the URL must not have spaces or control characters: write a space as %20")
	}
	scheme, authority, target := splitURL(s)
	if scheme == "" {
		scheme = "http"
	}
	u, err = url.Parse(scheme + "://" + escapeZone(authority))
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, "", fmt.Errorf("the URL must have the form http://host:port/path, got %q", maskPassword(s))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, "", fmt.Errorf("the URL's port must be from 1 to 65535, got %q", maskPassword(s))
		}
	}
	target, _, _ = strings.Cut(target, "#") // a fragment is not sent
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	return u, target, nil
}

// escapeZone escapes the % before the zone of an IPv6 address, as url.Parse requires. Other programs do not.
func escapeZone(authority string) string {
	start, end := strings.IndexByte(authority, '['), strings.IndexByte(authority, ']')
	if start < 0 || end < start {
		return authority
	}
	addr := strings.Replace(authority[start:end], "%25", "%", 1)
	return authority[:start] + strings.Replace(addr, "%", "%25", 1) + authority[end:]
}

// splitURL splits a URL before the authority and before the path or query. scheme is "" if s has none.
func splitURL(s string) (scheme, authority, target string) {
	if before, after, ok := strings.Cut(s, "://"); ok && !strings.ContainsAny(before, "/?#@") {
		scheme, s = before, after
	}
	end := strings.IndexAny(s, "/?#")
	if end < 0 {
		return scheme, s, ""
	}
	return scheme, s[:end], s[end:]
}

// RedactedURL returns the URL as it may be shown: without user and password.
func (cfg *Config) RedactedURL() string { return redactURL(cfg.URL.String()) + cfg.RequestTarget }

const redacted = "xxxxx" // as in url.URL.Redacted

// maskPassword removes everything that may be a password from text that may be a URL. Errors quote text with it: a
// password with an unescaped / ? or # is where the URL would be split, so the end of the password is unknown.
func maskPassword(s string) string {
	start := 0
	if before, _, ok := strings.Cut(s, "://"); ok && !strings.ContainsAny(before, ":/?#@") {
		start = len(before) + len("://")
	}
	at := strings.LastIndexByte(s, '@')
	if at < start {
		return s
	}
	colon := strings.IndexByte(s[start:at], ':')
	if colon < 0 {
		return s
	}
	return s[:start+colon+1] + redacted + s[at:]
}

// redactURL removes user and password from a valid URL.
func redactURL(s string) string {
	scheme, authority, target := splitURL(s)
	if scheme != "" {
		scheme += "://"
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 { // the user may be a token
		authority = redacted + authority[at:]
	}
	return scheme + authority + target
}

// redactFlag returns a flag and its value as they may be shown: without the value if it may be a secret.
func redactFlag(f *pflag.Flag, value string) []string {
	name := "-" + f.Name
	switch f.Name {
	case "H":
		value = redactHeader(value)
	case "A", "C", "P", "data":
		value = redacted
	case "X":
		value = maskPassword(value)
	case "compare":
		if strings.Contains(value, "://") {
			value = redactURL(value)
		}
	case "d":
		if value != bare {
			value = redacted
		}
	}
	switch {
	case f.NoOptDefVal == "":
		return []string{name, value}
	case value == f.NoOptDefVal:
		return []string{name}
	}
	return []string{name + "=" + value}
}

// redactHeader removes the value of a header that usually holds a secret.
func redactHeader(s string) string {
	name, _, _ := strings.Cut(s, ":")
	name = http.CanonicalHeaderKey(strings.TrimSpace(name))
	for _, secret := range []string{
		"auth", "cookie", "token", "secret", "passw", "pwd", "key", "jwt", "session", "signature", "credential", "csrf",
		"xsrf",
	} {
		if strings.Contains(strings.ToLower(name), secret) {
			return name + ": " + redacted
		}
	}
	return s
}
