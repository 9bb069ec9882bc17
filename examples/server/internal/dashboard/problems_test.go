package dashboard

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// Records with one message are one problem, with their count, the first and the latest time, and the latest attributes.
func TestProblems(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		problems := new(Problems)
		assert.NotNil(t, problems.Latest(), "null is no JSON array")
		logger := slog.New(problems.Handler())
		begin := time.Now().UTC()
		logger.Info("fine")
		logger.Error("queries fail", "error", "connection refused")
		<-time.After(time.Second)
		logger.With("server", "one").WithGroup("g").Warn("slow", "took", time.Second)
		<-time.After(time.Second)
		logger.Error("queries fail", "error", "no route to host")
		assert.Equal(t, []Problem{
			{"ERROR", "queries fail", `error="no route to host"`, 2, begin, begin.Add(2 * time.Second)},
			{"WARN", "slow", "server=one g.took=1s", 1, begin.Add(time.Second), begin.Add(time.Second)},
		}, problems.Latest())

		for i := range maxProblems {
			logger.Warn(fmt.Sprint("problem ", i))
			logger.Warn("slow")
		}
		latest := problems.Latest()
		assert.Len(t, latest, maxProblems)
		assert.Equal(t, "slow", latest[0].Message)
		assert.Equal(t, maxProblems+1, latest[0].Count, "the one that is dropped is not the oldest but the longest quiet")
		assert.Equal(t, "problem 1", latest[maxProblems-1].Message)
	})
}
