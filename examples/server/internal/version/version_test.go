package version

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	module := debug.Module{Path: "github.com/pointsapp/pointsapp", Version: "v1.2.3"}
	for want, info := range map[string]*debug.BuildInfo{
		"pointsapp of an unknown version":               nil,
		"pointsapp (devel), revision unknown, go1.26.0": {GoVersion: "go1.26.0"},
		"pointsapp v1.2.3, revision unknown, go1.26.0":  {GoVersion: "go1.26.0", Main: module},
		"pointsapp v1.2.3, revision 0123abcd, go1.26.0": {
			GoVersion: "go1.26.0", Main: module,
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.modified", Value: "false"}},
		},
		"pointsapp v1.2.3, revision 0123abcd with changes, go1.26.0": {
			GoVersion: "go1.26.0", Main: module,
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.modified", Value: "true"}},
		},
	} {
		assert.Equal(t, want, Describe(info))
	}
}
