package flags

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// An output is a flag for a file to write.
type output struct{ flag, name string }

// outputs returns the files to write.
func (cfg *Config) outputs() []output {
	var given []output
	for _, o := range []output{{"-e", cfg.CSV}, {"-g", cfg.Gnuplot}, {"-json", cfg.JSON}, {"-html", cfg.HTML}} {
		if o.name != "" {
			given = append(given, o)
		}
	}
	return given
}

// An input is something that is read from a file; its name is "" if it is not given. The -json of a run may replace an
// earlier run, which has been read before.
type input struct {
	what, name string
	isRun      bool
}

// inputs returns the files to read.
func (cfg *Config) inputs() []input {
	inputs := slices.Grow([]input{
		{what: "-targets", name: cfg.TargetsFile}, {what: "-cacert", name: cfg.CACert},
		{what: "-cert", name: cfg.Cert}, {what: "-key", name: cfg.Key}, {what: "the body", name: cfg.BodyFile()},
		{what: "-compare", name: cfg.Compare, isRun: true},
	}, len(cfg.Files))
	for _, name := range cfg.Files {
		inputs = append(inputs, input{what: "the run", name: name, isRun: true})
	}
	return inputs
}

// validateFiles rejects two outputs to the same file or to stdout, and an output to a file to read.
func (cfg *Config) validateFiles() error {
	outputs := cfg.outputs()
	for i, a := range outputs {
		for _, b := range cfg.inputs() {
			mayReplace := b.isRun && a.flag == "-json"
			if b.name != "" && a.name != Stdout && !mayReplace && sameFile(a.name, b.name) {
				return fmt.Errorf("%s would replace %s: it is also the file of %s", a.flag, a.name, b.what)
			}
		}
		for _, b := range outputs[i+1:] {
			switch {
			case a.name == Stdout && b.name == Stdout:
				return fmt.Errorf("%s and %s cannot both be %s (stdout)", a.flag, b.flag, Stdout)
			case a.name != Stdout && b.name != Stdout && sameFile(a.name, b.name):
				return fmt.Errorf("%s and %s need different files, got %s and %s", a.flag, b.flag, a.name, b.name)
			}
		}
	}
	return nil
}

// sameFile reports whether two names are those of one regular file, which need not exist yet.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return os.SameFile(infoA, infoB) && infoA.Mode().IsRegular()
	}
	return errA != nil && errB != nil && resolve(a) == resolve(b)
}

// maxLinks is the length of the longest chain of links that Linux follows.
const maxLinks = 40

// resolve returns the absolute name, without links, of a file that does not exist.
func resolve(name string) string {
	for range maxLinks {
		directory, file := filepath.Split(name)
		if resolved, err := filepath.EvalSymlinks(filepath.Clean(directory)); err == nil {
			directory = resolved
		}
		name = filepath.Join(directory, file)
		target, err := os.Readlink(name)
		if err != nil { // not a link
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(directory, target)
		}
		name = target
	}
	if absolute, err := filepath.Abs(name); err == nil {
		return absolute
	}
	return name
}

// UsesStdout reports whether a file is written to stdout, so that the text report cannot be.
func (cfg *Config) UsesStdout() bool {
	return slices.ContainsFunc(cfg.outputs(), func(o output) bool { return o.name == Stdout })
}
