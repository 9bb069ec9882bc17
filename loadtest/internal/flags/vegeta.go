package flags

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
)

// attackHint returns the command that generates the same load as "vegeta attack" with these arguments.
func attackHint(args []string) string {
	set := pflag.NewFlagSet("vegeta attack", pflag.ContinueOnError)
	set.ParseErrorsAllowlist.UnknownFlags = true
	set.Usage = func() {}
	rate := set.String("rate", "", "")
	duration := set.String("duration", "", "")
	targets := set.String("targets", "", "")
	body := set.String("body", "", "")
	clients := set.String("max-workers", "", "")
	timeout := set.String("timeout", "", "")
	insecure := set.Bool("insecure", false, "")
	http2 := set.Bool("http2", true, "")
	cert := set.String("cert", "", "")
	key := set.String("key", "", "")
	roots := set.String("root-certs", "", "")
	for _, name := range []string{"lazy", "h2c", "chunked"} {
		set.Bool(name, false, "")
	}
	args = slices.Clone(args)
	for i, arg := range args {
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") {
			args[i] = "-" + arg // vegeta's flags have one dash
		}
	}
	_ = set.Parse(args) // the error below helps, too, if some flags are wrong

	var c commandLine
	if _, err := attack.ParseRate(*rate); err == nil {
		c.add("-rate", *rate)
	} else if *rate == "" {
		c.add("-rate", "50") // vegeta's default
	}
	c.add("-c", *clients)
	c.add("-duration", cmp.Or(*duration, openDuration.String()))
	c.add("-s", *timeout)
	c.add("-p", *body)
	c.addIf("-insecure", *insecure)
	c.addIf("-http2=false", !*http2)
	c.add("-cert", *cert)
	c.add("-key", *key)
	c.add("-cacert", *roots)
	if *targets != "" {
		c.add("-targets", *targets)
		return "use loadtest" + string(c) + " URL"
	}
	return "use loadtest" + string(c) + " URL, with -targets FILE for vegeta's targets"
}
