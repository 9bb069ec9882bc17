package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
)

// TestURLIsSentExactly compares the request target that the server receives with the command line.
func TestURLIsSentExactly(t *testing.T) {
	var target atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { target.Store(r.RequestURI) }))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for given, want := range map[string]string{
		host: "/", "HTTP://" + host: "/", host + "/": "/", host + "?q": "/?q", "HTTP://" + host + "/?": "/?",
		host + "/a/../b": "/a/../b", host + "/?u=http://x/": "/?u=http://x/", server.URL + "/?u=http://x/": "/?u=http://x/",
		server.URL + "/%41%2f": "/%41%2f", server.URL + "/a|{}^b?q=|{}^": "/a|{}^b?q=|{}^", host + "/é": "/é", host + "/a#b": "/a",
	} {
		for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
			out, errs, code := call(t.Context(), "-q", "-transport", transport, given)
			require.Equal(t, exitOK, code, "%s%s", out, errs)
			assert.Equal(t, want, target.Load(), given)
			assert.Contains(t, out, "Document Path:          "+want+"\n")
		}
	}
}

// TestCredentials checks that credentials are sent, and appear in no file.
func TestCredentials(t *testing.T) {
	var authorization, cookie atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		authorization.Store(r.Header.Get("Authorization"))
		cookie.Store(r.Header.Get("Cookie"))
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
		for name, args := range map[string][]string{
			"URL":                {"http://user:secret@" + host},
			"URL without scheme": {"user:secret@" + host + "/x"},
			"header":             {"-H", "authorization: Basic dXNlcjpzZWNyZXQ=", server.URL},
			"header, attached":   {"-H=Authorization: Basic dXNlcjpzZWNyZXQ=", server.URL},
			"-A":                 {"-A", "user:secret", server.URL},
			"-A, attached":       {"-A=user:secret", server.URL},
			"cookies with -C":    {"-C", "id=secret", "-C=b=secret", "http://user:secret@" + host},
			"cookie as well":     {"-H", "Cookie: id=secret", "http://user:secret@" + host},
		} {
			t.Run(transport+"/"+name, func(t *testing.T) {
				page, file := filepath.Join(t.TempDir(), "r.html"), filepath.Join(t.TempDir(), "r.json")
				out, errs, code := call(t.Context(), append([]string{"-q", "-transport", transport, "-html", page, "-json", file}, args...)...)
				require.Equal(t, exitOK, code, errs)
				assert.Equal(t, "Basic dXNlcjpzZWNyZXQ=", authorization.Load()) // user:secret
				if name == "cookie as well" {
					assert.Equal(t, "id=secret", cookie.Load())
				}
				if name == "cookies with -C" {
					assert.Equal(t, "id=secret; b=secret", cookie.Load())
				}
				written := []byte(out)
				for _, name := range []string{page, file} {
					content, err := os.ReadFile(name)
					require.NoError(t, err)
					written = append(written, content...)
				}
				assert.NotContains(t, string(written), "secret")
				assert.NotContains(t, string(written), "dXNlcjpzZWNyZXQ")
				assert.Contains(t, string(written), "xxxxx")
			})
		}
	}
}

func TestJSONOnStdout(t *testing.T) {
	t.Chdir(t.TempDir())
	out, errs, code := call(t.Context(), "-q", "-n", "5", "-json", "-", respond(t, http.StatusOK).URL)
	assert.Equal(t, exitOK, code)
	assert.True(t, json.Valid([]byte(out)), out)
	assert.Contains(t, errs, "Complete requests:      5\n")
	assert.NoFileExists(t, "-")
}

// TestFlagsOfABWithoutEffect tests flags that are common in command lines of ab.
func TestFlagsOfABWithoutEffect(t *testing.T) {
	_, errs, code := call(t.Context(), "-r", "-S", "-d", "-n", "5", respond(t, http.StatusOK).URL)
	assert.Equal(t, exitOK, code)
	assert.Equal(t, "loadtest: note: ignored flags of ab: -r, -S, -d\n", errs)
}
