package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
)

// A recordingServer keeps the requests that it receives.
type recordingServer struct {
	*httptest.Server

	mu       sync.Mutex
	requests []received
}

type received struct {
	method, uri, host, body string
	header                  http.Header
}

func newRecordingServer(t *testing.T) *recordingServer {
	t.Helper()
	s := new(recordingServer)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, received{r.Method, r.RequestURI, r.Host, string(body), r.Header})
		_, _ = io.WriteString(w, "hello")
	}))
	t.Cleanup(s.Close)
	return s
}

// TestBody sends bodies: small, empty, and larger than the buffers of a socket.
func TestBody(t *testing.T) {
	for name, body := range map[string]string{"small": `{"id":1}`, "empty": "", "large": strings.Repeat("x", 8<<20)} {
		file := filepath.Join(t.TempDir(), "body")
		require.NoError(t, os.WriteFile(file, []byte(body), 0o600))
		for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				server := newRecordingServer(t)
				flags := [][]string{
					{"-p", file, "-T", "application/json"}, {"-u", file}, {"-p", file, "-m", "PATCH", "-H", "Content-Type: x/y"},
				}
				if name == "large" {
					flags = flags[:1]
				}
				for _, args := range flags {
					_, errs, code := call(t.Context(), append(append([]string{"-qn2", "-transport", transport}, args...), server.URL)...)
					require.Equal(t, exitOK, code, errs)
				}
				require.Len(t, server.requests, 2*len(flags))
				want := []struct{ method, contentType string }{
					{"POST", "application/json"}, {"PUT", "text/plain"}, {"PATCH", "x/y"},
				}
				for i, r := range server.requests {
					assert.Equal(t, want[i/2].method, r.method)
					assert.Equal(t, want[i/2].contentType, r.header.Get("Content-Type"))
					assert.Equal(t, sha256.Sum256([]byte(body)), sha256.Sum256([]byte(r.body))) // bodies are long
				}
			})
		}
	}
	_, errs, code := call(t.Context(), "-p", "/nowhere/body", newRecordingServer(t).URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, errs, "cannot read the body: open /nowhere/body")
}

// TestProxy uses a server in the place of the proxy. The host of the URL does not exist.
func TestProxy(t *testing.T) {
	for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
		t.Run(transport, func(t *testing.T) {
			proxy := newRecordingServer(t)
			file := filepath.Join(t.TempDir(), "r.json")
			_, errs, code := call(t.Context(), "-q", "-n", "2", "-transport", transport, "-json", file,
				"-X", strings.TrimPrefix(proxy.URL, "http://"), "-P", "bob:secret", "http://server.invalid/a?b")
			require.Equal(t, exitOK, code, errs)
			require.Len(t, proxy.requests, 2)
			assert.Equal(t, "http://server.invalid/a?b", proxy.requests[0].uri)
			assert.Equal(t, "server.invalid", proxy.requests[0].host)
			assert.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("bob:secret")),
				proxy.requests[0].header.Get("Proxy-Authorization"))
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.NotContains(t, string(content), "secret")
		})
	}
}

// TestFirstResponse prints the header, too, as ab does with -v 2.
func TestFirstResponse(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "busy")
	}))
	defer server.Close()
	const want = "\nFirst response:\nHTTP/1.1 503 Service Unavailable\n"
	for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
		out, _, _ := call(t.Context(), "-q", "-n", "2", "-v", "2", "-transport", transport, server.URL)
		_, response, found := strings.Cut(out, want)
		assert.True(t, found, out)
		header, body, _ := strings.Cut(response, "\n\n")
		assert.Contains(t, header, "Retry-After: 3", transport)
		assert.True(t, strings.HasPrefix(body, "busy\n"), out)
		out, _, _ = call(t.Context(), "-q", "-n", "2", "-v", "1", "-transport", transport, server.URL)
		assert.NotContains(t, out, "First response", transport)
	}
}

func TestGnuplot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plot.tsv")
	out, errs, code := call(t.Context(), "-qkn", "20", "-c4", "-g", file, "-v2", newRecordingServer(t).URL)
	require.Equal(t, exitOK, code, errs)
	assert.Contains(t, out, "\nFirst response:\nHTTP/1.1 200 OK\n")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	require.Len(t, lines, 21)
	assert.Equal(t, "starttime\tseconds\tctime\tdtime\tttime\twait", string(lines[0]))
	assert.Len(t, bytes.Split(lines[1], []byte("\t")), 6)
}
