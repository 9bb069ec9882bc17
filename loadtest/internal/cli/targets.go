package cli

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"strings"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// readTargets reads the requests in a file with vegeta's format of targets. Their URLs must be on the server of the
// command line, or be only a path and query.
//
//	GET /users?id=1
//	Accept: application/json
//
//	POST http://127.0.0.1:4000/users
//	Content-Type: application/json
//	@user.json
func readTargets(cfg *flags.Config) ([]transport.Request, error) {
	content, err := os.ReadFile(cfg.TargetsFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the targets: %w", err)
	}
	targets, err := vegeta.ReadAllTargets(vegeta.NewHTTPTargeter(bytes.NewReader(content), nil, nil))
	if err != nil {
		hint := "; each begins with a line METHOD URL"
		if strings.HasPrefix(err.Error(), "bad body") { // its file cannot be read
			hint = ""
		}
		return nil, fmt.Errorf("cannot read the targets in %s: %w%s", cfg.TargetsFile, err, hint)
	}
	requests := make([]transport.Request, 0, len(targets))
	for _, target := range targets {
		if strings.ContainsAny(target.URL, " \t") { // vegeta would escape it
			return nil, fmt.Errorf("cannot read the targets in %s: a URL must not have spaces: write %%20, "+
				"and nothing after the URL; repeat a target to send it more often than others", cfg.TargetsFile)
		}
		u, err := url.Parse(target.URL)
		if err != nil || u.Host != "" && (u.Host != cfg.URL.Host || u.Scheme != cfg.URL.Scheme) {
			return nil, fmt.Errorf("cannot read the targets in %s: all must be at %s://%s, not at %s",
				cfg.TargetsFile, cfg.URL.Scheme, cfg.URL.Host, hostOf(u))
		}
		requests = append(requests, transport.Request{
			Method: target.Method, Target: u.RequestURI(), Header: target.Header, Body: target.Body,
		})
	}
	return requests, nil
}

// hostOf returns the scheme and host of a target, without what may be a secret.
func hostOf(u *url.URL) string {
	if u == nil {
		return "an invalid URL"
	}
	return u.Scheme + "://" + u.Host
}
