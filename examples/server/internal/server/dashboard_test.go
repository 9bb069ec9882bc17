package server

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The latest successful answer is kept with its time, and what failed after it is counted.
func TestLatestAnswer(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	l := &latestResponse{queries: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, err := w.Write([]byte(`{}`))
		assert.NoError(t, err)
	})}
	get := func(path string) {
		l.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	get("/")
	assert.Zero(t, l.read(), "no page is open")
	l.watch(true)
	get("/readyz")
	assert.Zero(t, l.read())
	get("/")
	success := l.read()
	assert.JSONEq(t, `{}`, string(success.Body))
	assert.False(t, success.Time.IsZero())
	for _, status = range []int{http.StatusServiceUnavailable, http.StatusNotFound, http.StatusGatewayTimeout} {
		get("/")
	}
	failed := l.read()
	assert.Equal(t, success.Body, failed.Body)
	assert.Equal(t, success.Time, failed.Time)
	assert.EqualValues(t, 2, failed.Failures)
	assert.Equal(t, http.StatusGatewayTimeout, failed.Status)
	assert.False(t, failed.Failed.Before(success.Time))
	status = http.StatusOK
	get("/")
	assert.Zero(t, l.read().Failures)
	l.watch(false)
	assert.Zero(t, l.read())
}
