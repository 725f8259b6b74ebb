package config

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// DefaultFile is the configuration file that is used where it is found.
const DefaultFile = "execlogd.toml"

// Arguments returns the command line of the daemon with flags alone. What it names without a
// flag, before or between the flags, is a directory (-root) or a file of the configuration,
// *.toml (-config). In the directory that is named, or in the current one if neither -root
// nor -config is given, DefaultFile is used. It is loaded again when it changes, unless a
// flag says otherwise.
//
// Rest is what follows that is neither, as far as it is no flag. The error is that of Parse.
func Arguments(name, usage string, args []string) (flags, rest []string, err error) {
	given, rest, err := givenFlags(name, usage, args)
	if err != nil {
		return nil, nil, err
	}
	flags = args[:len(args)-len(rest)]
	if len(rest) == 0 {
		flags, err = withDefaultFile(given, flags)
		return flags, nil, err
	}

	operand := rest[0]
	var as []string
	switch {
	case IsDir(operand) && given["root"] != "":
		err = Usagef("the directory to serve is named twice, %s and %s: drop one of them", given["root"], operand)
	case IsDir(operand) && given["config"] == "":
		as, err = fileIn(operand)
		fallthrough
	case IsDir(operand):
		if as == nil {
			as = []string{"-root", operand}
		}
	case IsFile(operand) && filepath.Ext(operand) == ".toml" && given["config"] != "":
		err = Usagef("the configuration file is named twice, %s and %s: drop one of them", given["config"], operand)
	case IsFile(operand) && filepath.Ext(operand) == ".toml":
		as = []string{"-config", operand}
	default:
		return flags, rest, nil
	}
	if err != nil {
		return nil, nil, err
	}

	// The flags come last, as they override what is added.
	if n := len(flags); n > 0 && flags[n-1] == "--" {
		flags = flags[:n-1]
	}
	return Arguments(name, usage, append(append(as, flags...), rest[1:]...))
}

// WithDefaultFile returns flags of the daemon, and what follows them, with DefaultFile of
// the current directory if Arguments would use it.
func WithDefaultFile(name, usage string, args []string) ([]string, error) {
	given, _, err := givenFlags(name, usage, args)
	if err != nil {
		return nil, err
	}
	return withDefaultFile(given, args)
}

func withDefaultFile(given map[string]string, args []string) ([]string, error) {
	if given["root"] != "" || given["config"] != "" {
		return args, nil
	}
	file, err := fileIn(".")
	return append(file, args...), err
}

// givenFlags parses the flags of the daemon, and returns the values of those that are given,
// by their names, and what follows them.
func givenFlags(name, usage string, args []string) (given map[string]string, rest []string, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, nil, err
	}
	cfg := defaultConfig(dir)
	flags, err := cfg.parseFlags(name, usage, dir, args)
	if err != nil {
		return nil, nil, err
	}

	value := map[string]string{"root": cfg.Root, "config": cfg.File}
	given = make(map[string]string)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = value[f.Name] })
	return given, flags.Args(), nil
}

// fileIn returns the flags for DefaultFile in a directory; nil if there is none. One of
// another user, who is not root, is an error: commands in it would run as this user. A
// service of systemd uses none that is not named: whoever may write to the site could run
// commands as the service.
func fileIn(dir string) ([]string, error) {
	if os.Getenv("NOTIFY_SOCKET") != "" {
		return nil, nil
	}

	file := filepath.Join(dir, DefaultFile)
	if _, err := os.Lstat(file); isMissing(err) {
		return nil, nil
	}
	// A link of another user to a file of ours would run that in another directory.
	for _, stat := range []func(string) (fs.FileInfo, error){os.Lstat, os.Stat} {
		info, err := stat(file)
		if err != nil {
			break // it is reported when it is read
		}
		if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != 0 && owner != os.Geteuid() {
			return nil, fmt.Errorf("%s belongs to user %d, and its commands would run as user %d: if you trust it, name it with -config; -root %s only serves the files", file, owner, os.Geteuid(), ShellWord(dir))
		}
	}
	return []string{"-config", file, "-watch-config"}, nil
}

// synonyms are flags of other programs for what flags do here: where there are several, the
// first that a command has. VALUE is the value.
var synonyms = map[string]string{
	"p": "-port VALUE", "P": "-port VALUE",
	"d": "-root VALUE|-path VALUE", "dir": "-root VALUE", "directory": "-root VALUE|-path VALUE", "docroot": "-root VALUE", "t": "-root VALUE",
	"a": "-host VALUE", "b": "-host VALUE", "H": "-host VALUE", "addr": "-host VALUE", "address": "-host VALUE",
	"bind": "-host VALUE", "hostname": "-host VALUE", "interface": "-host VALUE", "ip": "-host VALUE", "listen": "-host VALUE",
	"c": "-config VALUE|-clear", "f": "-config VALUE", "file": "-config VALUE",
	"o": "-open", "browser": "-open", "launch": "-open",
	"q": "-log-level warn", "quiet": "-log-level warn", "silent": "-log-level warn",
	"debug": "-log-level debug", "verbose": "-log-level debug",
	"v": "-version", "V": "-version",
	"w": "-path VALUE", "watch": "-path VALUE", "e": "-match '*.VALUE'", "ext": "-match '*.VALUE'", "exts": "-match '*.VALUE'",
	"r": "-restart", "i": "-ignore VALUE", "follow": "-f", "n": "-dry-run",
}

// withoutFlag says how the daemon does what flags of other programs are for.
var withoutFlag = map[string]string{
	"watch": "it watches by itself", "w": "it watches by itself", "reload": "it refreshes pages by itself", "live": "it refreshes pages by itself",
	"daemon": inForeground, "background": inForeground, "detach": inForeground, "D": inForeground,
}

const inForeground = "it stays in the foreground, where systemd starts it as a service, or a shell with & behind it"

// An UnknownFlag is the error for a flag that does not exist.
type UnknownFlag struct {
	Name string
	Want string // what was probably meant; may be empty
}

func (e UnknownFlag) Error() string {
	if e.Want == "" {
		return "there is no flag -" + e.Name
	}
	return "there is no flag -" + e.Name + ": " + e.Want
}

// meantFlag says what was probably meant by a flag that does not exist; it may be empty.
// Value is what was given with it or follows it, which may be empty as well.
func meantFlag(flags *flag.FlagSet, name, value string) string {
	letters := strings.TrimRight(name, "0123456789")
	if letters != name && (letters == "p" || flags.Lookup(letters) != nil) {
		name, value = letters, name[len(letters):] // -p8000
	}

	all := synonyms[name]
	if flags.Lookup(name) != nil {
		all = "-" + name + " VALUE"
	}
	for right := range strings.SplitSeq(all, "|") {
		ours, _, _ := strings.Cut(strings.TrimPrefix(right, "-"), " ")
		f := flags.Lookup(ours)
		if f == nil {
			continue
		}
		if value == "" {
			value, _ = flag.UnquoteUsage(f)
			value = strings.ToUpper(value)
		} else if !strings.Contains(right, "'") { // else it is in quotes
			value = ShellWord(value)
		}
		return "write " + strings.Replace(right, "VALUE", value, 1)
	}

	if flags.Lookup("livereload") != nil && withoutFlag[name] != "" {
		return withoutFlag[name] + ": drop it"
	}
	if positive, ok := strings.CutPrefix(name, "no-"); ok {
		if f := flags.Lookup(positive); f != nil && isBool(f) {
			return "write -" + positive + "=false"
		}
	}
	var names []string
	flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if meant := Nearest(name, names); meant != "" {
		return "is -" + meant + " meant?"
	}
	return ""
}

// isBool reports whether a flag takes true or false, which is written with an equals sign.
func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// booleans are what people write for true and false.
var booleans = map[string]string{
	"no": "false", "off": "false", "never": "false", "none": "false", "disable": "false", "disabled": "false", "false": "false", "0": "false",
	"yes": "true", "on": "true", "always": "true", "enable": "true", "enabled": "true", "true": "true", "1": "true",
}

// MisplacedValue returns the right form of a flag of the daemon for true or false that is
// followed by its value as a word of its own; empty if it is another one.
func MisplacedValue(arg, word string) string {
	cfg := new(Config)
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	cfg.defineFlags(flags, &tables{Report: new(Report)})

	f, value := flags.Lookup(strings.TrimLeft(arg, "-")), booleans[strings.ToLower(word)]
	if f == nil || !strings.HasPrefix(arg, "-") || !isBool(f) || value == "" {
		return ""
	}
	return "-" + f.Name + "=" + value
}
