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

// A response is the part of a body that is checked.
type response struct {
	users     int
	ids       [maxUsers]string // of the first users, as JSON; "" if it is missing
	points    [maxUsers]int    // of the first users
	timestamp time.Time        // zero for null
}

// errShape is wrapped by the errors for bodies that do not have the form of a PointsApp response.
var errShape = errors.New("not a PointsApp response")

// A parser parses bodies. The responses to a batch have the same users, so most bodies differ from the previous one
// only in the timestamp; the users are then not parsed again.
type parser struct {
	prefix []byte   // of the previous body, up to its timestamp
	parsed response // of prefix; the timestamp is zero
}

func (p *parser) parse(body []byte) (response, error) {
	const key = `"timestamp":`
	end := bytes.LastIndex(body, []byte(key)) + len(key)
	if end < len(key) {
		return parse(body)
	}
	if bytes.Equal(body[:end], p.prefix) {
		r := p.parsed
		in := jlexer.Lexer{Data: body[end:]}
		r.parseTimestamp(&in)
		in.Delim('}')
		in.Consumed()
		if in.Error() == nil {
			return r, nil
		}
	}
	r, err := parse(body)
	if err == nil && bytes.Count(body, []byte(key)) == 1 {
		p.prefix = append(p.prefix[:0], body[:end]...)
		p.parsed = r
		p.parsed.timestamp = time.Time{}
	}
	return r, err
}

// parse parses a body and skips unknown members.
func parse(body []byte) (response, error) {
	var r response
	var seen struct{ users, timestamp bool }
	in := jlexer.Lexer{Data: body}
	in.Delim('{')
	for in.Ok() && !in.IsDelim('}') {
		key := in.UnsafeFieldName(false)
		in.WantColon()
		switch key {
		case "users":
			seen.users = true
			r.parseUsers(&in)
		case "timestamp":
			seen.timestamp = true
			r.parseTimestamp(&in)
		default:
			in.SkipRecursive()
		}
		in.WantComma()
	}
	in.Delim('}')
	in.Consumed()
	if err := in.Error(); err != nil {
		return response{}, fmt.Errorf("%w: %w", errShape, err)
	}
	if !seen.users || !seen.timestamp {
		return response{}, fmt.Errorf("%w: users or timestamp is missing", errShape)
	}
	return r, nil
}

func (r *response) parseUsers(in *jlexer.Lexer) {
	in.Delim('[')
	for in.Ok() && !in.IsDelim(']') {
		id, p := parseUser(in)
		if r.users < maxUsers {
			r.ids[r.users], r.points[r.users] = id, p
		}
		r.users++
		in.WantComma()
	}
	in.Delim(']')
}

// parseUser parses a user and returns its id as JSON, and its points; -1 if it has none.
func parseUser(in *jlexer.Lexer) (id string, p int) {
	p = -1
	in.Delim('{')
	for in.Ok() && !in.IsDelim('}') {
		key := in.UnsafeFieldName(false)
		in.WantColon()
		switch key {
		case "id":
			id = string(in.Raw())
		case "points":
			p = in.Int()
		default:
			in.SkipRecursive()
		}
		in.WantComma()
	}
	in.Delim('}')
	return id, p
}

func (r *response) parseTimestamp(in *jlexer.Lexer) {
	if in.IsNull() {
		in.Null()
		return
	}
	t, err := time.Parse(time.RFC3339Nano, in.UnsafeString())
	if err != nil && in.Ok() {
		in.AddError(err)
	}
	r.timestamp = t
}

// violation describes how the response by itself violates the contract; "" if it does not.
func (r *response) violation() string {
	if r.users > maxUsers {
		return fmt.Sprintf("%d users, at most %d are allowed", r.users, maxUsers)
	}
	for _, p := range r.points[:r.users] {
		if p < 1 || p > points.MaxPoints {
			return fmt.Sprintf("user with %d points, must be 1..%d", p, points.MaxPoints)
		}
	}
	if r.users == maxUsers && r.ids[0] == r.ids[1] && r.ids[0] != "" {
		return "two users with the id " + r.ids[0]
	}
	return ""
}
