package pointshttp

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// protocolProblem returns the problem that replaces a raw response of net/http to a request that no handler has seen;
// nil if p is another response. Such a response is written at once, and only it has no other header.
func protocolProblem(p []byte) []byte {
	const version, plain = "HTTP/1.1 ", "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
	const status = len("400")
	if !bytes.HasPrefix(p, []byte(version)) || len(p) < len(version)+status || p[len(version)] < '4' {
		return nil
	}
	code, err := strconv.Atoi(string(p[len(version) : len(version)+status]))
	if err != nil {
		return nil
	}
	line, _, _ := bytes.Cut(p, []byte("\r\n"))
	if code != http.StatusExpectationFailed && !bytes.HasPrefix(p[len(line):], []byte(plain)) {
		return nil
	}
	body, err := json.Marshal(problem{"about:blank", http.StatusText(code), code, protocolDetail(code, string(line))})
	if err != nil {
		panic(err) // strings and a number
	}
	return []byte(version + strconv.Itoa(code) + " " + http.StatusText(code) + "\r\nContent-Type: " + problemType[0] +
		"\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n" + string(body))
}

// protocolDetail says what is wrong with a request, from the status line of net/http's response.
func protocolDetail(code int, statusLine string) string {
	switch code {
	case http.StatusRequestHeaderFieldsTooLarge:
		return "The headers of the request are too large."
	case http.StatusExpectationFailed:
		return "The only expectation that is supported is 100-continue."
	case http.StatusNotImplemented:
		return "The only transfer encoding that is supported is chunked."
	}
	if _, reason, ok := strings.Cut(statusLine, ": "); ok {
		return "The request is not valid HTTP: " + reason + "."
	}
	return "The request is not valid HTTP."
}
