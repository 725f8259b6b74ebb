package config

import (
	"flag"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// A Run is the command line of execlogd run, checked. The root of its route is the
// first of its paths.
type Run struct {
	Route
	Paths         []string // to listen to, absolute
	Clear         bool     // the terminal before each run
	ExitOnFailure bool

	restart, postpone bool
}

// ParseRun reads the flags of execlogd run, and the command that follows them.
func ParseRun(name, usage string, args []string) (Run, error) {
	cfg, argv, err := ParseRunFlags(name, usage, args)
	if err != nil {
		return cfg, err
	}

	cfg.Service.Argv = argv
	cfg.Start = cfg.Start && !cfg.NeedsPath()
	switch {
	case !cfg.HasCommand():
		return cfg, Usagef("what is to run? Name a command, as in execlogd run make")
	case len(argv) > 0 && cfg.Service.Shell != "":
		return cfg, Usagef("there are both -shell and a command, %q: drop one of them", argv[0])
	case len(argv) == 1 && isScript(argv[0]):
		return cfg, Usagef("%q is not the name of a program: if it is a line for the shell, write execlogd run -shell %s", argv[0], ShellWord(argv[0]))
	case cfg.IsService && cfg.PerFile():
		return cfg, Usagef("-signal tells one command of all changes: drop -per file")
	case cfg.IsService && len(cfg.Service.Leave) > 0:
		return cfg, Usagef("-leave is for commands that end, and -signal for one that goes on: drop one of them")
	}
	return cfg, nil
}

// ParseRunFlags is ParseRun of the flags alone. It returns what follows them.
func ParseRunFlags(name, usage string, args []string) (Run, []string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Run{}, nil, err
	}
	cfg := Run{Route: defaultRoute(dir)}
	cfg.Name, cfg.Service.Input = "run", job.TerminalInput
	t := &tables{new(Report), dir}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	cfg.define(flags, t)
	if err := ParseFlags(flags, usage, args); err != nil {
		return cfg, nil, err
	}
	if err := t.usageError(); err != nil {
		return cfg, nil, err
	}

	if len(cfg.Paths) == 0 {
		cfg.Paths = []string{dir}
	}
	cfg.Root = cfg.Paths[0]
	cfg.Start = !cfg.postpone
	if cfg.restart {
		cfg.OnBusy = router.Restart
	}
	cfg.IsService = cfg.Service.ReloadSignal != 0 // it goes on, and is told of changes
	cfg.finish(dir)
	cfg.Roots = cfg.Paths
	return cfg, flags.Args(), checkFlags(cfg.patterns(), new(Report), cfg.Paths...)
}

// define declares the flags: those of the keys that a route has in a file, and a few
// that only run has.
func (cfg *Run) define(flags *flag.FlagSet, t *tables) {
	defineKeys(flags, t, cfg.keys())
	defineKeys(flags, t, []key{{
		"path", func(t *tables, v value) {
			var dir string
			path(&dir, `a directory or a file, as in "src"`)(t, v)
			cfg.Paths = append(cfg.Paths, dir)
		}, "the current directory",
		"watch this `directory` with everything below it, or this single file (may be\nrepeated)",
	}})

	cfg.IgnoreFiles = true
	flags.BoolVar(&cfg.IgnoreFiles, "ignore-files", true, "ignore what .gitignore, .ignore and .git/info/exclude files ignore")
	flags.BoolVar(&cfg.restart, "restart", false, "end the command when a file changes while it runs, and start it again, as for a server:\n-on-busy restart")
	flags.BoolVar(&cfg.postpone, "postpone", false, "do not run before the first change")
	flags.BoolVar(&cfg.Clear, "clear", false, "clear the terminal before each run")
	flags.BoolVar(&cfg.ExitOnFailure, "exit-on-failure", false, "end at the first run that fails, with its exit status")
}

// IsRunFlag reports whether execlogd run has a flag of this name.
func IsRunFlag(name string) bool {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	new(Run).define(flags, new(tables))
	return flags.Lookup(name) != nil
}

// isScript reports whether a word is rather a line for a shell than a program.
func isScript(word string) bool {
	_, err := os.Stat(word)
	return err != nil && strings.ContainsAny(word, " \t\n&|;<>()$`*")
}

// plainWord matches words that shells take as they are.
var plainWord = regexp.MustCompile(`^[\pL\pN_@%+=:,./-]+$`)

// ShellWord returns a word as a shell takes it literally, in one line. It is for messages that
// say what to write.
func ShellWord(word string) string {
	switch {
	case plainWord.MatchString(word):
		return word
	case strings.ContainsFunc(word, func(c rune) bool { return !unicode.IsPrint(c) }) || !utf8.ValidString(word):
		quoted := strconv.Quote(word)
		return "$'" + strings.ReplaceAll(quoted[1:len(quoted)-1], "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// NeedsPath reports whether the command can run only for a file.
func (cfg *Run) NeedsPath() bool {
	return cfg.PerFile() || strings.Contains(strings.Join(cfg.Service.Argv, " "), "{path")
}

// GoesOn reports whether the command is one that goes on, as a server does.
func (cfg *Run) GoesOn() bool { return cfg.OnBusy == router.Restart || cfg.IsService }

// Whole is an event that stands for all files.
func (cfg *Run) Whole() inotify.Event { return inotify.Event{Root: cfg.Paths[0], Path: "."} }

// Notes returns what there is to say of patterns that may be wrong.
func (cfg *Run) Notes() Mistakes {
	r := new(Report)
	r.noteRoute("", &cfg.Route)
	return r.mistakes
}
