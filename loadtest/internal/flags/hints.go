package flags

import "slices"

// hint returns the replacement for a flag of ab, hey, oha, vegeta, wrk or k6; "" if there is none.
func hint(name string) string {
	for _, h := range hints() {
		if slices.Contains(h.names, name) {
			return h.instead
		}
	}
	return ""
}

type flagHint struct {
	names   []string
	instead string
}

func hints() []flagHint {
	return []flagHint{
		{
			[]string{"vus", "workers", "max-workers", "connections", "concurrency", "concurrent", "clients", "users"},
			"use -c",
		},
		{[]string{"iterations", "max-requests", "requests", "num-requests"}, "use -n"},
		{[]string{"a", "basic-auth"}, "use -A"},
		{[]string{"D", "body"}, "use -p FILE, or -u FILE for PUT"},
		{[]string{"host"}, "use -H 'Host: NAME'"},
		{[]string{"U", "header", "user-agent"}, "use -H 'NAME: VALUE'"},
		{
			[]string{"B", "laddr", "local-ips"},
			"the local address cannot be chosen: the system's routes determine it",
		},
		{[]string{"timeout"}, "use -s"},
		{[]string{"threads"}, "use -cpus"},
		{
			[]string{"o", "out", "output", "output-format", "summary-export", "format"},
			"use -json FILE, -html FILE, -e FILE or -g FILE",
		},
		{
			[]string{"stage", "stages", "ramp", "ramp-up", "rampup"},
			"use -rate 10:100 -duration 1m for a ramp from 10 to 100 requests per second",
		},
		{[]string{"threshold", "thresholds"}, "use -assert"},
		{[]string{"method"}, "use -m"},
		{[]string{"proxy"}, "use -X"},
		{[]string{"cookie"}, "use -C"},
		{[]string{"R", "qps", "rps", "latency-correction"}, "use -rate"},
		{[]string{"no-tui", "quiet", "silent"}, "use -q"},
		{[]string{"keepalive", "disable-keepalive", "no-connection-reuse"}, "use -k=false"},
		{[]string{"h2"}, "leave it out: with an https URL, HTTP/2 is used if the server offers it"},
		{[]string{"h2c"}, "HTTP/2 needs an https URL"},
		{[]string{"http1", "http1.1"}, "use -http2=false"},
		{[]string{"http3"}, "HTTP/3 is not supported"},
		{[]string{"root-certs"}, "use -cacert FILE"},
		{[]string{"insecure-skip-tls-verify"}, "use -insecure"},
		{
			[]string{"redirects"}, "redirects are not followed: use the final URL",
		},
		{
			[]string{"disable-redirects", "disable-compression", "latency", "no-color"},
			"it is not needed: redirects are not followed, nothing is compressed, and latencies are always shown",
		},
	}
}
