package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version returns the text for -version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return describeBuild(info)
}

// describeBuild returns the version of the module, or the revision if it has none, and the version of Go.
func describeBuild(info *debug.BuildInfo) string {
	const unversioned = "(devel)"
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (version == "" || version == unversioned) {
			version = s.Value
		}
	}
	if version == "" {
		version = unversioned
	}
	return fmt.Sprintf("loadtest %s, %s", version, cmp.Or(info.GoVersion, runtime.Version()))
}
