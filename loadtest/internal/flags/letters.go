package flags

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/pflag"
)

const (
	// numeric are the one-letter flags that accept an attached value, as in -c10, if it begins like a number.
	numeric = "nctsvz"

	// unbundled are the one-letter flags that cannot be bundled: those that end the program and those that are ignored.
	// They would hide a mistyped long flag: -htlm would print the help.
	unbundled = "hVrSwIdxybfZ"

	// maxSplit is the highest number of letters that an error suggests to write as separate flags.
	maxSplit = 3
)

// normalize returns the flags in the form that pflag parses: long flags get a second dash, because pflag parses those
// with one dash as bundled flags. It rejects bundled flags and attached values that may be a mistyped long flag, and
// flags in the place of a value.
func (p *parser) normalize(args []string) ([]string, error) {
	args = slices.Clone(args)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' || arg == "--" {
			break
		}
		f, valueFollows, err := p.find(arg)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(arg, "--") && p.set.Lookup(longName(arg)) != nil {
			args[i] = "-" + arg
		}
		if !valueFollows || i+1 == len(args) {
			continue
		}
		i++
		if p.isFlag(args[i], isFreeText(f.Name)) {
			return nil, fmt.Errorf("-%s needs %s, got %s", f.Name, valueKind(f.Name), flagName(args[i]))
		}
	}
	return args, nil
}

// longName returns the name of a flag, without dashes and value.
func longName(arg string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	return name
}

// find returns the flag of an argument, of bundled flags the last one, and whether the next argument is its value.
func (p *parser) find(arg string) (f *pflag.Flag, valueFollows bool, err error) {
	name, hasValue := longName(arg), strings.Contains(arg, "=")
	if name == "h" || name == "help" {
		if hasValue {
			return nil, false, fmt.Errorf("-%s has no value", name)
		}
		return nil, false, pflag.ErrHelp
	}
	if f = p.set.Lookup(name); f != nil {
		return f, f.NoOptDefVal == "" && !hasValue, nil
	}
	if !strings.HasPrefix(arg, "--") {
		if f, attached := p.bundle(name); f != nil {
			return f, f.NoOptDefVal == "" && !hasValue && attached == "", nil
		}
	}
	return nil, false, p.unknown(name)
}

// letters returns bundled one-letter flags and the value attached to the last one; nil if one of them is unknown.
func (p *parser) letters(name string) (flags []*pflag.Flag, attached string) {
	for i, letter := range name {
		f := p.set.Lookup(string(letter))
		if f == nil {
			return nil, ""
		}
		flags = append(flags, f)
		if f.NoOptDefVal == "" {
			return flags, name[i+1:]
		}
	}
	return flags, ""
}

// bundle returns the last of bundled flags and its attached value. It returns nil if they may be a mistyped word.
func (p *parser) bundle(name string) (last *pflag.Flag, attached string) {
	flags, attached := p.letters(name)
	for i, f := range flags {
		if strings.Contains(unbundled, f.Name) || slices.Contains(flags[:i], f) {
			return nil, ""
		}
		last = f
	}
	if attached != "" && (!strings.Contains(numeric, last.Name) || !beginsNumber(attached)) {
		return nil, ""
	}
	return last, attached
}

// beginsNumber reports whether s begins like a number. The flag's own rule rejects the rest.
func beginsNumber(s string) bool {
	s = strings.TrimLeft(s, "+-.")
	return s != "" && '0' <= s[0] && s[0] <= '9'
}

// unknown returns the error for a name that is neither that of a flag nor bundled flags.
func (p *parser) unknown(name string) error {
	if text, ok := strings.CutPrefix(name, "d"); ok && p.set.Lookup("d") != nil {
		if err := checkData(text); err != nil { // -d30s
			return fmt.Errorf("-d %w", err)
		}
	}
	if f := p.runFlag(name); f != nil {
		return fmt.Errorf("-%s is a flag of a run, and merge reads finished runs (-h lists the flags)", f.Name)
	}
	shown := firstFlag(name)
	if len(name) > 1 && hint(shown) == "" && hint(name[:1]) != "" && beginsNumber(name[1:]) { // -R200
		shown = name[:1]
	}
	if instead := hint(shown); instead != "" {
		return fmt.Errorf("unknown flag -%s: %s", shown, instead)
	}
	if near := p.nearest(name); near != "" {
		return fmt.Errorf("unknown flag -%s: did you mean -%s? (-h lists the flags)", name, near)
	}
	if err := p.splitError(name); err != nil {
		return err
	}
	return fmt.Errorf("unknown flag -%s (-h lists the flags)", shown)
}

// runFlag returns the flag of a run with this name, given to "loadtest merge"; nil if there is none.
func (p *parser) runFlag(name string) *pflag.Flag {
	if !p.merge {
		return nil
	}
	run := newParser(new(Config))
	run.define(run.cfg)
	if f := run.set.Lookup(name); f != nil {
		return f
	}
	f, _ := run.bundle(name)
	return f
}

// splitError returns an error that says how to write what bundle rejects; nil if name is neither bundled flags nor has
// an attached value.
func (p *parser) splitError(name string) error {
	flags, attached := p.letters(name)
	if flags == nil {
		return nil
	}
	last := flags[len(flags)-1].Name
	isOther := func(r rune) bool { return !isWordRune(r) }
	switch {
	case attached == "" && len(flags) <= maxSplit:
		return errors.New("unknown flag -" + name + ": write -" + strings.Join(strings.Split(name, ""), " -"))
	case attached == "" || strings.Contains(numeric, last):
	case strings.ContainsFunc(attached, isOther): // it may be a secret
		return fmt.Errorf("-%s needs a space before its value: write -%s %s", last, last, valueName(last))
	case !strings.Contains(attached, "-") && !strings.Contains(unbundled, last):
		return fmt.Errorf("unknown flag -%s (-h lists the flags; -%s needs a space before its value)", name, last)
	}
	return nil
}

// nearest returns the long flag with the smallest edit distance, at most 2; "" if there is none. For a short name the
// distance is at most 1, unless it has the letters of the flag: -name is not -rate, but -htlm is -html.
func (p *parser) nearest(name string) (nearest string) {
	const long = 6
	name = strings.ToLower(name)
	edits := 3
	p.set.VisitAll(func(f *pflag.Flag) {
		if len(f.Name) == 1 || len(name) == 1 {
			return
		}
		d := levenshtein.ComputeDistance(name, f.Name)
		if d < edits && (d < 2 || len(name) >= long || sortLetters(name) == sortLetters(f.Name)) {
			nearest, edits = f.Name, d
		}
	})
	return nearest
}

func sortLetters(s string) string {
	letters := []rune(s)
	slices.Sort(letters)
	return string(letters)
}

// isFlag reports whether an argument in the place of a value is a flag. Free text may begin with a dash.
func (p *parser) isFlag(arg string, freeText bool) bool {
	if len(arg) < 2 || arg[0] != '-' {
		return false
	}
	name := longName(arg)
	if freeText {
		return p.set.Lookup(name) != nil
	}
	return name != "" && isLetter(rune(name[0]))
}

// flagName returns the flag of an argument as it was given, without a value, which may be a secret.
func flagName(arg string) string {
	name := longName(arg)
	before, _, _ := strings.Cut(arg, "=")
	return strings.TrimSuffix(before, name) + firstFlag(name)
}

// firstFlag returns a name that is a word; otherwise its first letter, because the rest may be a secret.
func firstFlag(name string) string {
	isOther := func(r rune) bool { return !isWordRune(r) && r != '.' }
	first, size := utf8.DecodeRuneInString(name)
	if isLetter(first) && !strings.ContainsFunc(name, isOther) {
		return name
	}
	return name[:size]
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

// isWordRune reports whether a long flag, also a mistyped one, may have the character.
func isWordRune(r rune) bool { return isLetter(r) || '0' <= r && r <= '9' || r == '-' || r == '_' }

// valueName returns the name of a one-letter flag's value in the help text.
func valueName(flag string) string {
	switch flag {
	case "H":
		return "'NAME: VALUE'"
	case "A", "P":
		return "USER:PASSWORD"
	case "C":
		return "NAME=VALUE"
	case "m":
		return "METHOD"
	case "T":
		return "TYPE"
	case "X":
		return "HOST:PORT"
	}
	if isFile(flag) {
		return "FILE"
	}
	return "VALUE"
}

// valueKind returns what a flag needs.
func valueKind(flag string) string {
	if isFile(flag) {
		return "a file"
	}
	return "a value"
}

func isFile(flag string) bool {
	return slices.Contains([]string{"p", "u", "e", "g", "json", "html", "targets", "cacert", "cert", "E", "key"}, flag)
}
