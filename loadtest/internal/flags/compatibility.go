package flags

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// parse parses the flags, including a -d with a body.
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
		// ab's -d has no value and no effect, so only the URL follows. Here two arguments follow, so -d is that of hey and
		// oha, and the first one is the body.
		p.cfg.Ignored = p.cfg.Ignored[:len(p.cfg.Ignored)-1]
		p.cfg.Command = append(p.cfg.Command, redacted)
		if err := p.setShortData(positional[0]); err != nil {
			return fmt.Errorf("-d %w", err)
		}
		args = positional[1:]
	}
}

// setD sets -d: with a value, that is the body, as in hey and oha; without one, the flag is ab's and ignored.
func (p *parser) setD(value string) error {
	if p.bareD = value == bare; p.bareD {
		p.cfg.Ignored = append(p.cfg.Ignored, "-d")
		return nil
	}
	return p.setShortData(value)
}

// setShortData sets the body that -d has. A number is a duration in wrk, and @FILE is a file in curl.
func (p *parser) setShortData(text string) error {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return fmt.Errorf("must be a body, got %q: use -duration %ss, or -data %s for this body", text, text, text)
	}
	if strings.HasPrefix(text, "@") { // a file in curl
		return errors.New("must be a body, got one that begins with @: use -p FILE to send a file, or -data for this body")
	}
	return p.setData(text)
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

// ignoreRequests ignores -n if -z is given, as hey and oha do.
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

// rateError returns an error if the last flag is -q and a number follows: in hey and oha, -q is a rate, in hey that of
// each client. Here, -q has no value.
func (p *parser) rateError(args, positional []string) error {
	flags := args[:len(args)-len(positional)]
	if !p.cfg.Quiet || len(flags) == 0 || len(positional) < 2 || !strings.HasSuffix(flags[len(flags)-1], "q") {
		return nil
	}
	given := positional[0]
	if rate, err := strconv.ParseFloat(given, 64); err != nil || !(rate > 0) {
		return nil //nolint:nilerr // not a rate: other errors apply
	} else if n := p.clients(positional[1:]); n > 0 {
		return fmt.Errorf("-q has no value here: use -rate %s for the rate of all clients together "+
			"(hey's -q %s for each of %d clients)", strconv.FormatFloat(rate*float64(n), 'f', -1, 64), given, n)
	}
	return fmt.Errorf("-q has no value here: use -rate for the rate of all clients together "+
		"(hey's -q %s is for each client)", given)
}

// clients returns the value of -c, which may be in rest, the arguments not parsed yet; 0 if there is none.
func (p *parser) clients(rest []string) int {
	if p.given["c"] {
		return p.cfg.Clients
	}
	for i, arg := range rest {
		value, ok := strings.CutPrefix(arg, "-c")
		if ok && value == "" && i+1 < len(rest) {
			value = rest[i+1]
		}
		if n, err := strconv.Atoi(strings.TrimPrefix(value, "=")); ok && err == nil && n > 0 {
			return n
		}
	}
	return 0
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
