package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/caarlos0/env/v11"
)

// Parse returns the configuration from the flags in args, the environment variables in environ (each key=value) and the
// defaults, in this order. An empty variable counts as not set. It also returns the action that args ask for. If args
// ask for help, Parse writes it to help and returns flag.ErrHelp. Any other error is one line that names the flag or
// the variable and the rule, and has no piece of a password.
func Parse(args, environ []string, help io.Writer) (Config, Action, error) {
	cfg := Defaults()
	envErr := cfg.setFromEnvironment(environ)
	flags := cfg.flags()
	action := addActions(flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		writeHelp(help, flags)
		return Config{}, ActionServe, err
	case err != nil:
		return Config{}, ActionServe, flagError(err, flags)
	case flags.NArg() > 0:
		return Config{}, ActionServe, argumentError(flags)
	case envErr != nil:
		return Config{}, ActionServe, envErr
	}
	if port := env.ToMap(environ)["PORT"]; port != "" && setBy("addr", flags, environ) == "" {
		if err := cfg.Addr.UnmarshalText([]byte(":" + port)); err != nil {
			return Config{}, ActionServe, settingError("PORT", port, "must be a number from 0 to 65535")
		}
	}
	if cfg.DatabaseURL == "" {
		for setting, wanted := range map[string]bool{
			"shared": cfg.Shared, "schema": cfg.Schema != "", "table": cfg.Table != Defaults().Table,
		} {
			if name := setBy(setting, flags, environ); wanted && name != "" {
				return Config{}, ActionServe, errors.New(name + " needs a database: set -database-url (DATABASE_URL)")
			}
		}
		cfg.Shared = false
	}
	if limit := time.Duration(cfg.ShutdownTimeout) / 2; time.Duration(cfg.ShutdownDelay) > limit {
		return Config{}, ActionServe, fmt.Errorf("-shutdown-delay (SHUTDOWN_DELAY) must be at most half of "+
			"-shutdown-timeout (SHUTDOWN_TIMEOUT), %v, got %v", limit, time.Duration(cfg.ShutdownDelay))
	}
	return cfg, *action, nil
}

// setBy returns the flag or the environment variable that sets a setting; "" if it has its default.
func setBy(setting string, flags *flag.FlagSet, environ []string) (name string) {
	if variable := strings.ToUpper(setting); env.ToMap(environ)[variable] != "" {
		name = variable
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name == setting {
			name = "-" + setting
		}
	})
	return name
}

// Misspelt returns the environment variables whose names are within two edits of a setting's variable, in any case, or
// are a flag's name, as "X (is Y meant?)". Names of fewer than 8 letters do not count: USER is not a misspelt USERS.
func Misspelt(environ []string) []string {
	const short, near = 8, 2
	var known, misspelt []string
	flagNames := make(map[string]string) // of each variable, in its form
	cfg := Defaults()
	cfg.flags().VisitAll(func(f *flag.Flag) {
		known = append(known, variable(f))
		flagNames[variable(f)] = strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	})
	for _, given := range slices.Sorted(maps.Keys(env.ToMap(environ))) {
		if len(given) < short || slices.Contains(known, given) {
			continue
		}
		upper := strings.ToUpper(given)
		for _, name := range known {
			if len(name) >= short && (upper == flagNames[name] || levenshtein.ComputeDistance(upper, name) <= near) {
				misspelt = append(misspelt, given+" (is "+name+" meant?)")
			}
		}
	}
	return misspelt
}

// setFromEnvironment sets the fields whose variables environ has.
func (c *Config) setFromEnvironment(environ []string) error {
	variables := env.ToMap(environ)
	for name, value := range variables {
		if value == "" {
			delete(variables, name)
		}
	}
	err := env.ParseWithOptions(c, env.Options{
		Environment: variables,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[bool](): parseBool},
	})
	parseErr, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return err
	}
	field, _ := reflect.TypeFor[Config]().FieldByName(parseErr.Name)
	name := field.Tag.Get("env")
	return settingError(name, variables[name], parseErr.Err.Error())
}

// boolRule is what a boolean setting must be.
const boolRule = "must be true or false"

func parseBool(text string) (any, error) {
	value, err := strconv.ParseBool(text)
	if err != nil {
		return nil, errors.New(boolRule)
	}
	return value, nil
}

// invalidValue matches package flag's errors of values: the value, the flag and the rule.
var invalidValue = regexp.MustCompile(
	`(?s)^invalid (?:boolean )?value ("(?:[^"\\]|\\.)*") for (?:flag )?(-[a-z-]+): (.*)$`,
)

// flagError rewrites an error of package flag.
func flagError(err error, flags *flag.FlagSet) error {
	message := err.Error()
	if match := invalidValue.FindStringSubmatch(message); match != nil {
		value, unquoteErr := strconv.Unquote(match[1])
		if unquoteErr != nil {
			value = ""
		}
		rule := match[3]
		if !strings.HasPrefix(rule, "must ") { // of a flag.BoolVar
			rule = boolRule
		}
		return settingError(match[2], value, rule)
	}
	if what, name, ok := strings.Cut(message, ": "); ok && what != "flag needs an argument" {
		if maySplitSecret(flags) || mayHoldPassword(name) {
			return errors.New(what + ": its name is not shown, as it may be part of a secret; put the value in quotes")
		}
		return errors.New(what + ": " + printable(name))
	}
	return errors.New(message)
}

// settingError says which rule a value of a flag or a variable breaks. The values of secrets are not repeated.
func settingError(name, value, rule string) error {
	if slices.Contains([]string{"-database-url", "DATABASE_URL", "-control-token", "CONTROL_TOKEN"}, name) {
		return errors.New(name + " " + rule)
	}
	return fmt.Errorf("%s %s, got %s", name, rule, printable(value))
}

// printable returns a text as it is, or quoted if it needs that, or a replacement if it may be a connection string.
func printable(text string) string {
	switch {
	case mayHoldPassword(text):
		return "a text that may hold a password"
	case strconv.Quote(text) == `"`+text+`"` && text != "" && !strings.Contains(text, " "):
		return text
	default:
		return strconv.Quote(text)
	}
}

// argumentError is the error of an argument that is no flag.
func argumentError(flags *flag.FlagSet) error {
	const rule = "flags are given as -name=value"
	switch argument := flags.Arg(0); {
	case maySplitSecret(flags):
		return errors.New("unexpected argument: " + rule + ", in quotes if they have spaces")
	case mayHoldPassword(argument):
		return errors.New("unexpected argument, not shown as it may hold a password: " + rule)
	default:
		return fmt.Errorf("unexpected argument %s: %s", printable(argument), rule)
	}
}

// mayHoldPassword reports whether a text may be a connection string or a part of one. An origin is not.
func mayHoldPassword(text string) bool {
	lower := strings.NewReplacer("https://", "", "http://", "").Replace(strings.ToLower(text))
	return strings.Contains(lower, "@") || strings.Contains(lower, "://") || strings.Contains(lower, "pass")
}

// maySplitSecret reports whether a secret was given as a flag: without quotes, a shell splits one that has a space into
// several arguments, and what follows may be a piece of it.
func maySplitSecret(flags *flag.FlagSet) (may bool) {
	flags.Visit(func(f *flag.Flag) { may = may || f.Name == "database-url" || f.Name == "control-token" })
	return may
}
