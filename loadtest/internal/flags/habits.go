package flags

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// parse parses flags and the body after -d.
func (p *parser) parse(args []string) error {
	for {
		if err := p.parseFlags(args); err != nil {
			return err
		}
		positional := p.set.Args()
		if p.version {
			return ErrVersion
		}
		if !p.bareD || len(positional) < 2 {
			return nil
		}
		// Two arguments are left: -d is that of hey and oha, and the first one is the body. After ab's -d, which has no value
		// and no effect, only the URL is left.
		p.cfg.Ignored = p.cfg.Ignored[:len(p.cfg.Ignored)-1]
		p.cfg.Command = append(p.cfg.Command, redacted)
		if err := p.setData(positional[0]); err != nil {
			return fmt.Errorf("-d %w", err)
		}
		args = positional[1:]
	}
}

// setD sets -d, whose value is the body; without a value it is ab's, which has no effect.
func (p *parser) setD(value string) error {
	if p.bareD = value == bare; p.bareD {
		p.cfg.Ignored = append(p.cfg.Ignored, "-d")
		return nil
	}
	return p.setData(value)
}

// setData sets the body of each request.
func (p *parser) setData(text string) error {
	if err := checkData(text); err != nil {
		return err
	}
	p.given["data"] = true
	p.cfg.Body = []byte(text)
	return nil
}

// ignoreRequests ignores -n beside -z, as hey and oha do.
func (p *parser) ignoreRequests() {
	if p.timedZ && p.given["n"] {
		delete(p.given, "n")
		p.cfg.Notes = append(p.cfg.Notes, "-n has no effect with -z, as in hey and oha: "+
			"with -duration instead of -z, the run ends at whichever comes first")
	}
}

// checkData returns an error for a duration, which is the value of -d in wrk and k6.
func checkData(text string) error {
	if _, err := time.ParseDuration(text); err == nil && text != "0" {
		return fmt.Errorf("must be a body, got %q: use -duration %s", text, text)
	}
	return nil
}

// isProxy reports whether the value of -x is the address of a proxy, as in hey and oha, and not ab's table attributes.
func isProxy(s string) bool {
	if strings.Contains(s, "://") {
		return true
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}
