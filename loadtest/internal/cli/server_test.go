package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
)

// writeFile writes a file into a directory of the test and returns its path.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestTargets(t *testing.T) {
	for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
		t.Run(transport, func(t *testing.T) {
			server := newRecordingServer(t)
			body := writeFile(t, "user.json", `{"id":1}`)
			file := writeFile(t, "targets", fmt.Sprintf("GET /users?id=1\nX-A: b\n\nPOST %s/users\nContent-Type: application/json\n@%s\n\n"+
				"# a comment\nDELETE /users/1\n", server.URL, body))
			out, errs, code := call(t.Context(), "-qn7", "-transport", transport, "-targets", file, "-H", "X-All: yes", server.URL)
			require.Equal(t, exitOK, code, errs)
			assert.Contains(t, out, "Document Path:          3 requests in turn, from "+file)
			assert.Contains(t, out, "Document Length:        Variable")
			require.Len(t, server.requests, 7)
			for i, want := range []received{
				{method: "GET", uri: "/users?id=1"}, {method: "POST", uri: "/users", body: `{"id":1}`}, {method: "DELETE", uri: "/users/1"},
				{method: "GET", uri: "/users?id=1"},
			} {
				got := server.requests[i]
				assert.Equal(t, want, received{method: got.method, uri: got.uri, body: got.body})
				assert.Equal(t, "yes", got.header.Get("X-All"))
			}
			assert.Equal(t, "b", server.requests[0].header.Get("X-A"))
			assert.Equal(t, "application/json", server.requests[1].header.Get("Content-Type"))

			other := writeFile(t, "other", "GET http://other.invalid/\n")
			_, errs, code = call(t.Context(), "-q", "-targets", other, server.URL)
			assert.Equal(t, exitFailed, code)
			assert.Contains(t, errs, "all must be at "+server.URL)

			weight := writeFile(t, "weight", "GET /users weight=3\n")
			_, errs, code = call(t.Context(), "-q", "-targets", weight, server.URL)
			assert.Equal(t, exitFailed, code)
			assert.Equal(t, "loadtest: cannot read the targets in "+weight+": a URL must not have spaces: write %20, and nothing "+
				"after the URL; repeat a target to send it more often than others\n", errs)
		})
	}
}

func TestCertificates(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	cert := writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	for name, tt := range map[string]struct {
		args []string
		code int
	}{
		"unknown authority": {nil, exitFailed}, "insecure": {[]string{"-insecure"}, exitOK}, "cacert": {[]string{"-cacert", cert}, exitOK},
		"no certificate": {[]string{"-cacert", writeFile(t, "empty", "")}, exitFailed},
		"no file":        {[]string{"-cacert", "/nowhere"}, exitFailed},
	} {
		_, errs, code := call(t.Context(), append(append([]string{"-qn2"}, tt.args...), server.URL)...)
		assert.Equal(t, tt.code, code, "%s: %s", name, errs)
	}
}

// TestClientCertificates tests a server that requires a certificate, for which its own one serves here.
func TestClientCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	own := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	require.NoError(t, err)
	certPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	cert, both := writeFile(t, "cert.pem", certPEM), writeFile(t, "both.pem", certPEM+keyPEM)
	for name, tt := range map[string]struct {
		args []string
		errs string // "" if the run succeeds
	}{
		"none":             {nil, "no request succeeded: tls: certificate required; use -cert for a client certificate"},
		"cert with key":    {[]string{"-cert", both}, ""},
		"ab's flag":        {[]string{"-E", both}, ""},
		"cert and key":     {[]string{"-cert", cert, "-key", writeFile(t, "key.pem", keyPEM)}, ""},
		"cert without key": {[]string{"-cert", cert}, "cannot use the client certificate in " + cert + ": tls: "},
		"no file":          {[]string{"-cert", "/nowhere"}, "cannot read the client certificate: open /nowhere: "},
		"no key file":      {[]string{"-cert", both, "-key", "/nowhere"}, "cannot read the key of the client certificate: open /nowhere: "},
	} {
		_, errs, code := call(t.Context(), append(append([]string{"-qn1", "-insecure"}, tt.args...), server.URL)...)
		assert.Equal(t, tt.errs == "", code == exitOK, "%s: %s", name, errs)
		assert.Contains(t, errs, tt.errs, name)
	}
}

// TestTransportNamesHTTP1 turns HTTP/2 off, and checks what the server receives and the results say.
func TestTransportNamesHTTP1(t *testing.T) {
	protocols := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { protocols <- r.Proto }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "r.json")
	for flag, want := range map[string]struct{ protocol, transport string }{
		"-http2=true":  {"HTTP/2.0", "net/http"},
		"-http2=false": {"HTTP/1.1", "net/http without HTTP/2"},
	} {
		_, errs, code := call(t.Context(), "-q", "-insecure", flag, "-json", file, server.URL)
		require.Equal(t, exitOK, code, errs)
		assert.Equal(t, want.protocol, <-protocols)
		assert.Equal(t, want.transport, readResult(t, file).Load.Transport)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	defer server.Close()
	for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
		out, errs, code := call(t.Context(), "-qn5", "-v2", "-transport", transport, "-unix-socket", path, "http://app.invalid/x")
		assert.Equal(t, exitOK, code, errs)
		assert.Contains(t, out, "Complete requests:      5\n")
		assert.Contains(t, out, "\n\napp.invalid\n")
	}
}

// TestDuration runs a closed loop without a limit of requests. The last request of each client is pending when the time
// is up.
func TestDuration(t *testing.T) {
	for _, flag := range []string{"-duration", "-z"} {
		synctest.Test(t, func(t *testing.T) {
			server := &simulatedServer{capacity: &capacityServer{slots: 2, service: 30 * time.Millisecond}}
			out, err := simulate(t.Context(), t, server, "-q", "-c", "2", flag, "100ms", "-assert", "failed=0")
			require.NoError(t, err, out)
			assert.Contains(t, out, "closed loop like ab: 2 clients for 100ms.")
			assert.EqualValues(t, 8, server.requests.Load())
		})
	}
}

func TestEnvironmentProxyIsMentioned(t *testing.T) {
	t.Setenv("http_proxy", "http://proxy.invalid:1")
	_, errs, _ := call(t.Context(), "-q", "-s", "1", "http://server.invalid/")
	assert.Contains(t, errs, "loadtest: note: the proxy of the environment is ignored: use -X or -transport net/http\n")
	_, errs, code := call(t.Context(), "-q", respond(t, http.StatusOK).URL)
	assert.Equal(t, exitOK, code)
	assert.Empty(t, errs, "loopback addresses are not proxied")
}
