package cli

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMetrics scrapes while the third request is pending.
func TestMetrics(t *testing.T) {
	var requests atomic.Int64
	scraped, third := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if requests.Add(1) == 3 {
			close(third)
			<-scraped
		}
	}))
	defer server.Close()
	stderr, write := io.Pipe()
	var scraper sync.WaitGroup
	scraper.Go(func() {
		defer close(scraped)
		line, err := bufio.NewReader(stderr).ReadString('\n')
		assert.NoError(t, err)
		<-third
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(strings.TrimSpace(strings.TrimPrefix(line, "loadtest: note: metrics at ")))
		if !assert.NoError(t, err) {
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		assert.NoError(t, err)
		assert.Contains(t, string(body), `loadtest_responses_total{code="200"} 2`)
	})
	code := Run(t.Context(), []string{"-q", "-n", "5", "-metrics", "127.0.0.1:0", server.URL}, io.Discard, write)
	scraper.Wait()
	require.Equal(t, exitOK, code)
}
