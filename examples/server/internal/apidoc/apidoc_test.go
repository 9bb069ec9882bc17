package apidoc

import (
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1.2.3", "v0.0.0-20260102030405-0123456789ab+dirty", develVersion} {
		doc, err := openapi3.NewLoader().LoadFromData(withVersion(YAML, version))
		require.NoError(t, err)
		assert.Equal(t, version, doc.Info.Version)
	}
}
