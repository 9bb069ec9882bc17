// Package version returns the version of this module that a program was built from.
package version

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// Devel is the version of a program that was not built from a module version, as the go command calls it.
const Devel = "(devel)"

// Module returns the version of the program's main module, such as "v1.2.3" or [Devel].
func Module() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Devel
	}
	return cmp.Or(info.Main.Version, Devel)
}

// Describe returns, in one line, the module's version, the revision of the sources if they were built in a clone, and
// Go's version. info may be nil.
func Describe(info *debug.BuildInfo) string {
	if info == nil {
		return "pointsapp of an unknown version"
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := cmp.Or(settings["vcs.revision"], "unknown")
	if settings["vcs.modified"] == "true" {
		revision += " with changes"
	}
	return fmt.Sprintf("pointsapp %s, revision %s, %s", cmp.Or(info.Main.Version, Devel), revision, info.GoVersion)
}
