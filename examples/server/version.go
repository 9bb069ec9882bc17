package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// version returns, in one line, the module's version, the revision of the sources if they were built in a clone, and
// Go's version. info may be nil.
func version(info *debug.BuildInfo) string {
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
	return fmt.Sprintf("pointsapp %s, revision %s, %s", cmp.Or(info.Main.Version, "(devel)"), revision, info.GoVersion)
}
