package transport

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"
)

// A Request is one of several requests that a transport sends in turn. Fields that are not set have the default of
// Options.
type Request struct {
	Method string
	Target string      // path and query, sent exactly as given
	Header http.Header // added to that of Options; replaces headers of the same name
	Body   []byte
}

// withRequests returns Options whose Requests are complete and valid.
func (o Options) withRequests() (Options, error) {
	requests := o.Requests
	if len(requests) == 0 {
		requests = []Request{{}}
	}
	o.Requests = nil
	for _, r := range requests {
		r.Method, r.Target = cmp.Or(r.Method, o.Method), cmp.Or(r.Target, o.Target)
		if r.Body == nil {
			r.Body = o.Body
		}
		header := canonical(o.Header)
		maps.Copy(header, canonical(r.Header))
		r.Header = header
		if err := r.validate(); err != nil {
			return o, err
		}
		o.Requests = append(o.Requests, r)
	}
	return o, nil
}

// canonical returns a copy of h with canonical names. It joins the values of names that differ only in case in the
// order of the names, because a map's order would differ from request to request.
func canonical(h http.Header) http.Header {
	header := http.Header{}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		key := http.CanonicalHeaderKey(name)
		header[key] = append(header[key], h[name]...)
	}
	return header
}

func (r *Request) validate() error {
	if !httpguts.ValidHeaderFieldName(r.Method) { // both are tokens
		return fmt.Errorf("the method must be an HTTP token, got %q", r.Method)
	}
	for name, values := range r.Header {
		for _, value := range values {
			if err := CheckHeader(name, value); err != nil {
				return err
			}
		}
	}
	if len(r.Header["Authorization"]) > 1 {
		return errors.New("a request must have only one Authorization header")
	}
	return nil
}

// CheckHeader returns an error if a request cannot have the header. The error does not quote the value: it may be a
// secret.
func CheckHeader(name, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("a header name must be an HTTP token, got %q", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("the value of header %s must not have control characters", name)
	case strings.EqualFold(name, "Content-Length"), strings.EqualFold(name, "Transfer-Encoding"):
		return fmt.Errorf("the body determines header %s: leave it out", name)
	}
	return nil
}

// expectsBody reports whether requests with the method normally have a body, so that an absent one must be announced.
func (r *Request) expectsBody() bool {
	return r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
}

// isIdempotent reports whether RFC 9110 allows resending a request with the method that the server may have received.
func isIdempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// A rotation returns its items round-robin. It is safe for concurrent use.
type rotation[T any] struct {
	items []T
	count atomic.Uint64
}

func (r *rotation[T]) next() T {
	if len(r.items) == 1 {
		return r.items[0]
	}
	return r.items[(r.count.Add(1)-1)%uint64(len(r.items))]
}
