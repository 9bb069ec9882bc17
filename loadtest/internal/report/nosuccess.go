package report

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// NoSuccess describes the run, or the first part of it, without a 2xx response, and what happened instead; "" if all
// have one.
func (r *Run) NoSuccess() string {
	if texts := r.noSuccesses(); len(texts) > 0 {
		return texts[0]
	}
	return ""
}

// noSuccesses describes the run if it has no 2xx response, otherwise each part (repeated or merged run) without one.
func (r *Run) noSuccesses() []string {
	if r.Counts.Successful == 0 {
		return []string{"no request succeeded: " + DescribeNoSuccess(&r.Counts, r.StatusCodes, r.Errors)}
	}
	var texts []string
	for i, one := range r.Repeats {
		if text := one.NoSuccess(); text != "" {
			texts = append(texts, fmt.Sprintf("run %d of %d: %s", i+1, len(r.Repeats), text))
		}
	}
	return append(texts, r.FailedParts...)
}

// DescribeNoSuccess describes the outcomes of a run without a 2xx response: status codes, and the most frequent error.
func DescribeNoSuccess(counts *record.Counts, statuses []record.StatusCount, failures []record.FailureCount) string {
	failure := "no complete response"
	if len(failures) > 0 {
		failure = failures[0].Error + failureHint(failures[0].Error)
	}
	failed := counts.Failed()
	switch {
	case counts.Non2xx == 0 && len(failures) > 0:
		return failure
	case counts.Non2xx == 0:
		return "no response arrived before the end of the run"
	case failed == 0:
		return describeStatuses(counts.Non2xx, statuses)
	}
	return fmt.Sprintf("%s, and %s: %s", describeStatuses(counts.Non2xx, statuses),
		Plural(failed, "request failed", "requests failed"), failure)
}

// describeStatuses counts responses by status: "15 of 20 responses were 404 Not Found, 5 were 503 Service Unavailable".
func describeStatuses(responses int64, statuses []record.StatusCount) string {
	if len(statuses) == 0 { // unknown
		return fmt.Sprintf("%d of %s non-2xx", responses, Plural(responses, "response was", "responses were"))
	}
	texts := make([]string, 0, len(statuses))
	for i, s := range statuses {
		status := strings.TrimSpace(fmt.Sprint(s.Status, " ", http.StatusText(s.Status)))
		verb := Plural(s.Count, "was", "were")
		if i == 0 {
			verb = fmt.Sprintf("%d of %s", s.Count, Plural(responses, "response was", "responses were"))
		}
		texts = append(texts, verb+" "+status)
	}
	text := strings.Join(texts, ", ")
	if slices.ContainsFunc(statuses, isRedirect) {
		text += "; redirects are not followed: use the final URL"
	}
	return text
}

func isRedirect(s record.StatusCount) bool {
	switch s.Status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect:
		return true
	}
	return false
}

// failureHint returns what to do about a failure of TLS; "" for other failures.
func failureHint(failure string) string {
	switch {
	case strings.HasPrefix(failure, (&tls.CertificateVerificationError{Err: errors.New("")}).Error()):
		return "; use -cacert or -insecure"
	case strings.Contains(failure, "certificate required"):
		return "; use -cert for a client certificate"
	case strings.Contains(failure, "does not look like a TLS handshake"):
		return "; use an http URL if the server has no TLS"
	}
	return ""
}
