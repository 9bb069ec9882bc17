package contract

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/mailru/easyjson/jlexer"

	"github.com/pointsapp/pointsapp/points"
)

const maxUsers = 2

// An answer is what is checked of a body.
type answer struct {
	users     int
	points    [maxUsers]int // of the first users
	timestamp time.Time     // zero for null
}

// errShape is wrapped by the errors of bodies that are no PointsApp's.
var errShape = errors.New("not an answer of PointsApp")

// A parser parses bodies. Most of them differ from the one before in their timestamp alone, for the answers of a batch
// have the same users: these are parsed once.
type parser struct {
	head   []byte // of the latest body, up to its timestamp
	answer answer // in it, but for the timestamp
}

func (p *parser) parse(body []byte) (answer, error) {
	const key = `"timestamp":`
	end := bytes.LastIndex(body, []byte(key)) + len(key)
	if end < len(key) {
		return parse(body)
	}
	if bytes.Equal(body[:end], p.head) {
		a := p.answer
		in := jlexer.Lexer{Data: body[end:]}
		a.parseTimestamp(&in)
		in.Delim('}')
		in.Consumed()
		if in.Error() == nil {
			return a, nil
		}
	}
	a, err := parse(body)
	if err == nil && bytes.Count(body, []byte(key)) == 1 {
		p.head = append(p.head[:0], body[:end]...)
		p.answer = a
		p.answer.timestamp = time.Time{}
	}
	return a, err
}

// parse reads a body. Members that are not known are skipped.
func parse(body []byte) (answer, error) {
	var a answer
	var seen struct{ users, timestamp bool }
	in := jlexer.Lexer{Data: body}
	in.Delim('{')
	for in.Ok() && !in.IsDelim('}') {
		key := in.UnsafeFieldName(false)
		in.WantColon()
		switch key {
		case "users":
			seen.users = true
			a.parseUsers(&in)
		case "timestamp":
			seen.timestamp = true
			a.parseTimestamp(&in)
		default:
			in.SkipRecursive()
		}
		in.WantComma()
	}
	in.Delim('}')
	in.Consumed()
	if err := in.Error(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errShape, err)
	}
	if !seen.users || !seen.timestamp {
		return answer{}, fmt.Errorf("%w: it needs users and timestamp", errShape)
	}
	return a, nil
}

func (a *answer) parseUsers(in *jlexer.Lexer) {
	in.Delim('[')
	for in.Ok() && !in.IsDelim(']') {
		p := parsePoints(in)
		if a.users < maxUsers {
			a.points[a.users] = p
		}
		a.users++
		in.WantComma()
	}
	in.Delim(']')
}

// parsePoints reads a user and returns its points; -1 if it has none.
func parsePoints(in *jlexer.Lexer) int {
	p := -1
	in.Delim('{')
	for in.Ok() && !in.IsDelim('}') {
		key := in.UnsafeFieldName(false)
		in.WantColon()
		if key == "points" {
			p = in.Int()
		} else {
			in.SkipRecursive()
		}
		in.WantComma()
	}
	in.Delim('}')
	return p
}

func (a *answer) parseTimestamp(in *jlexer.Lexer) {
	if in.IsNull() {
		in.Null()
		return
	}
	t, err := time.Parse(time.RFC3339Nano, in.UnsafeString())
	if err != nil && in.Ok() {
		in.AddError(err)
	}
	a.timestamp = t
}

// violation returns what is wrong with the answer by itself; "" if nothing is.
func (a *answer) violation() string {
	if a.users > maxUsers {
		return fmt.Sprintf("%d users, and at most %d were to be", a.users, maxUsers)
	}
	for _, p := range a.points[:a.users] {
		if p < 1 || p > points.MaxPoints {
			return fmt.Sprintf("a user with %d points, not 1..%d", p, points.MaxPoints)
		}
	}
	return ""
}
