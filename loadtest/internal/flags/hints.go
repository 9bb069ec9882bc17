package flags

// hint returns what to use instead of a flag of ab, hey, oha, vegeta, wrk or k6; "" if there is nothing.
func hint(name string) string {
	switch name {
	case "vus", "workers", "max-workers", "connections":
		return "use -c"
	case "iterations", "max-requests":
		return "use -n"
	case "a", "basic-auth":
		return "use -A"
	case "D", "body":
		return "use -p FILE, or -u FILE for PUT"
	case "host":
		return "use -H 'Host: NAME'"
	case "U", "header", "user-agent":
		return "use -H 'NAME: VALUE'"
	case "B", "laddr", "local-ips":
		return "the local address cannot be chosen: the system's routes determine it"
	case "E", "cert":
		return "client certificates are not supported: -cacert FILE is for the server's certificate"
	case "timeout":
		return "use -s"
	case "threads":
		return "use -cpus"
	case "o", "out", "output", "output-format", "summary-export", "format":
		return "use -json FILE, -html FILE, -e FILE or -g FILE"
	case "stage":
		return "use a ramp: -rate 1000:20000"
	case "qps", "rps", "latency-correction":
		return "use -rate"
	case "no-tui":
		return "use -q"
	case "keepalive", "disable-keepalive":
		return "use -k=false"
	case "h2", "http2":
		return "use -transport net/http with an https URL"
	case "root-certs":
		return "use -cacert FILE"
	case "disable-redirects", "redirects", "disable-compression", "latency", "no-color":
		return "it is not needed: redirects are not followed, nothing is compressed, and latencies are always shown"
	}
	return ""
}
