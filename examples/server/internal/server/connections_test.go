package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// However many connections are beyond the limit, an episode is logged in two lines.
func TestConnectionEpisodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := &connectionEpisodes{logger: slog.New(slog.NewTextHandler(&log, nil)), limit: 7}
		for range 2 {
			for i := range 1000 {
				e.add(i%10 > 0)
				<-time.After(10 * time.Millisecond)
			}
			<-time.After(2 * episodeTimeout)
			synctest.Wait()
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		assert.Len(t, lines, 4)
		for i, line := range lines {
			if i%2 == 0 {
				assert.Regexp(t, `level=WARN msg="too many connections: .*" limit=7$`, line)
			} else {
				assert.Regexp(t, `level=INFO msg="connections are within the limit again" rejected=900 idle_closed=100 after=9.99s$`, line)
			}
		}
	})
}
