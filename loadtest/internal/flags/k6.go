package flags

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// k6Error returns the error for the arguments of "k6 run", with the command that generates the same load.
func k6Error(args []string) error {
	set := pflag.NewFlagSet("k6 run", pflag.ContinueOnError)
	set.ParseErrorsAllowlist.UnknownFlags = true
	set.Usage = func() {}
	clients := set.StringP("vus", "u", "", "")
	duration := set.StringP("duration", "d", "", "")
	requests := set.StringP("iterations", "i", "", "")
	rate := set.String("rps", "", "")
	stages := set.StringSliceP("stage", "s", nil, "")
	outs := set.StringArrayP("out", "o", nil, "")
	summary := set.String("summary-export", "", "")
	insecure := set.Bool("insecure-skip-tls-verify", false, "")
	newConnections := set.Bool("no-connection-reuse", false, "")
	quiet := set.BoolP("quiet", "q", false, "")
	_ = set.Parse(args) // the error below helps, too, if some flags are wrong

	if len(*stages) > 0 || *rate != "" {
		*requests = "" // an open loop has a duration
	} else if *requests == "" && *duration == "" {
		*requests = *clients // k6 would make one iteration, with a warning; here -n must be at least -c
	}
	var c commandLine
	c.add("-c", *clients)
	c.add("-n", *requests)
	c.add("-rate", *rate)
	c.add("-duration", *duration)
	var rampNote, metricsNote string
	if len(*stages) > 0 {
		c.add("-rate", "FROM:TO")
		c.add("-duration", totalDuration(*stages))
		rampNote = " (a ramp of the rate: the number of clients is constant)"
	}
	for _, out := range *outs {
		flag, value := outputFlag(out)
		c.add(flag, value)
		if flag == "-metrics" {
			metricsNote = " (-metrics serves the state of the run for Prometheus; -json FILE writes all results)"
		}
	}
	c.add("-json", *summary)
	c.addIf("-insecure", *insecure)
	c.addIf("-k=false", *newConnections)
	c.addIf("-q", *quiet)
	return errors.New("k6's scripts cannot be run: use loadtest" + string(c) + " URL" + rampNote + metricsNote +
		"; -targets FILE sends several requests, and thresholds are -assert 'p95<200ms,failed<1%'")
}

// A commandLine holds flags of loadtest that an error suggests, each after a space.
type commandLine string

// add adds a flag with a value, unless that is "".
func (c *commandLine) add(flag, value string) {
	if value != "" {
		*c += commandLine(" " + flag + " " + value)
	}
}

// addIf adds a boolean flag if it is on.
func (c *commandLine) addIf(flag string, on bool) {
	if on {
		*c += commandLine(" " + flag)
	}
}

// totalDuration returns the sum of the durations of stages such as 30s:100.
func totalDuration(stages []string) string {
	var total time.Duration
	for _, stage := range stages {
		text, _, _ := strings.Cut(stage, ":")
		d, err := time.ParseDuration(text)
		if err != nil {
			return "TIME"
		}
		total += d
	}
	return total.String()
}

// outputFlag returns the flag for an output of k6 such as json=FILE. Most of the other outputs send metrics to a
// database during the run. Their values are not quoted, because they may contain a password.
func outputFlag(out string) (flag, value string) {
	kind, file, hasFile := strings.Cut(out, "=")
	if !hasFile {
		file = "FILE"
	}
	switch kind {
	case "json":
		return "-json", file
	case "csv":
		return "-g", file
	case "web-dashboard":
		return "-html", "FILE"
	case "cloud":
		return "-json", "FILE"
	}
	return "-metrics", "ADDR"
}
