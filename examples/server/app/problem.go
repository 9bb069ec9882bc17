package app

import (
	"encoding/json"
	"net/http"
)

// retryAfter is how many seconds a client is asked to wait after a 503.
const retryAfter = "1"

// problem is a problem detail of RFC 9457. Its type is about:blank: its title, the status's, says all there is to say
// of the kind of problem.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func problemOf(status int, detail string) []byte {
	body, err := json.Marshal(problem{"about:blank", http.StatusText(status), status, detail})
	if err != nil {
		panic(err) // strings and a number
	}
	return body
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	writeJSON(w, problemType, status, problemOf(status, detail))
}

func writeNotFound(w http.ResponseWriter) {
	writeProblem(w, http.StatusNotFound, "There is nothing at this path: GET / answers a query.")
}

// writeUnavailable writes a problem that may be over soon.
func writeUnavailable(w http.ResponseWriter, detail string) {
	w.Header().Set("Retry-After", retryAfter)
	writeProblem(w, http.StatusServiceUnavailable, detail)
}
