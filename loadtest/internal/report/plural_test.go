package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPlural(t *testing.T) {
	assert.Equal(t, "0 bodies differ", Plural(0, "body differs", "bodies differ"))
	assert.Equal(t, "1 body differs", Plural(1, "body differs", "bodies differ"))
	assert.Equal(t, "2 bodies differ", Plural(2, "body differs", "bodies differ"))
}
