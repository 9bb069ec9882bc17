package flags

import (
	"fmt"
	"strings"
)

// commandError returns an error that names the replacement if the first argument is a command of another load tester,
// or its name, a method, or another word before the URL; otherwise nil.
func commandError(args []string) error {
	if len(args) == 0 {
		return nil
	}
	instead := commandHint(args[0])
	if args[0] == "attack" {
		instead = attackHint(args[1:])
	}
	if last := args[len(args)-1]; instead == "" && len(args) > 1 && isHTTPURL(last) && isWord(args[0]) {
		instead = leaveOut
		if method := strings.ToUpper(args[0]); isMethod(method) {
			instead = "use -m " + method
		}
	}
	if instead == "" {
		return nil
	}
	return fmt.Errorf("unknown command %s: %s; for a server of that name use http://%s/", args[0], instead, args[0])
}

// commandHint returns what to use instead of a command word; "" for other words.
func commandHint(word string) string {
	switch word {
	case "version":
		return "use -version"
	case "help":
		return "use -h"
	case "new", "inspect", "archive":
		return "there are no scripts, flags describe the load, e.g. loadtest -n 1000 -c 10 URL"
	case "cloud":
		return "run loadtest -json FILE URL on each machine, then loadtest merge FILES"
	case "report", "encode":
		return "each run prints its report, -json FILE writes it, and loadtest merge FILE prints it again"
	case "plot":
		return "use -html FILE for a page with charts"
	case "ab", "hey", "oha", "wrk", "vegeta", "k6":
		return leaveOut
	}
	return ""
}

// leaveOut is the hint for a word that is not needed.
const leaveOut = "leave it out, e.g. loadtest -n 1000 -c 10 URL"

// isWord reports whether text has only letters and digits, so that it is unlikely to be an address or a secret.
func isWord(text string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	return strings.Trim(strings.ToLower(text), letters+"0123456789") == ""
}

// checkOrder rejects a flag after the first positional argument, where it would be a positional argument, too.
func checkOrder(args []string, what string) error {
	for i, arg := range args {
		if i > 0 && len(arg) > 1 && strings.HasPrefix(arg, "-") {
			return fmt.Errorf("flags must come before the %s, got %s after it", what, flagName(arg))
		}
	}
	return nil
}
