package flags

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUsageExplainsClausesOnce(t *testing.T) {
	usage := Usage()
	assert.Contains(t, usage, "\n  -slo CLAUSES      the SLO of -find-max")
	assert.Contains(t, usage, "\n      CLAUSES are comma-separated; each is METRIC OP VALUE")
	assert.Equal(t, 1, strings.Count(usage, "METRIC OP VALUE"))
	assert.NotContains(t, usage, "{")
}
