// Package uplot has the chart library uPlot, version 1.6.32 (github.com/leeoniya/uPlot, MIT), for pages that load
// nothing from other hosts.
package uplot

import _ "embed"

// JS and CSS are the library's two files.
var (
	//go:embed uPlot.min.js
	JS string
	//go:embed uPlot.min.css
	CSS string
)
