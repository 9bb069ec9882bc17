package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

func TestStandard(t *testing.T) { testRouter(t, standard) }

func TestChi(t *testing.T) {
	router := testRouter(t, withChi)
	assert.Equal(t, http.StatusOK, get(t, router, "/points").Code)
}

// testRouter checks that the handler's paths are below /points/, and no others are.
func testRouter(t *testing.T, mount func(http.Handler) http.Handler) http.Handler {
	t.Helper()
	store, err := memstore.New(10)
	require.NoError(t, err)
	engine, err := points.New(store, points.Config{})
	require.NoError(t, err)
	router := mount(pointshttp.NewHandler(engine, pointshttp.Config{}))

	assert.Contains(t, get(t, router, "/").Body.String(), "Queries are answered at /points/.")
	first := get(t, router, "/points/")
	assert.Equal(t, http.StatusOK, first.Code)
	assert.JSONEq(t, `{"users":[],"timestamp":null}`, first.Body.String())
	assert.NotContains(t, get(t, router, "/points/").Body.String(), "null", "the second query returns the timestamp of the first")
	assert.Equal(t, http.StatusOK, get(t, router, "/points/readyz").Code)
	assert.Equal(t, http.StatusNotFound, get(t, router, "/points/nothing").Code)
	assert.Equal(t, http.StatusNotFound, get(t, router, "/readyz").Code)
	return router
}

func get(t *testing.T, handler http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer
}
