package job

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The placeholders, which stand for names in the arguments of a command.
const (
	pathPlaceholder  = "{path}"
	pathsPlaceholder = "{paths}"
	rootPlaceholder  = "{root}"
)

// placeholders matches any of them.
var placeholders = regexp.MustCompile(`\{(?:paths?|root)\}`)

// plainArgument matches an argument that may hold placeholders, with a NUL for each:
// the placeholder stands alone, follows key= or a scheme, or is part of a path. No
// code can be written with the characters that it allows. White space, quotes,
// brackets, ; $ ` | & < > * ! , # and \ are not among them, nor is a colon before a
// placeholder: after that, scp and rsync have a shell of another machine read the
// name.
var plainArgument = regexp.MustCompile(`^(?:-{0,2}[\pL\pN_.-]+=)?(?:@|[a-z][a-z0-9+.-]*://)?` +
	`[\pL\pN_./%@~-]*\x00(?:[\pL\pN_./%@~+=-]*\x00)*[\pL\pN_./%@~+:=-]*$`)

// An ArgumentError says what is wrong with one argument of a command.
type ArgumentError struct {
	Index int // in Command.Argv
	Err   error
}

func (e *ArgumentError) Error() string { return e.Err.Error() }

func (e *ArgumentError) Unwrap() error { return e.Err }

// checkArguments refuses arguments that the kernel does not take, and placeholders
// where a program could read the name of a file as code. The error is an
// *ArgumentError.
func checkArguments(argv []string) error {
	for i, arg := range argv {
		err := checkPlaceholders(argv, i)
		if strings.Contains(arg, "\x00") {
			err = errors.New("has a NUL byte, which no argument can hold: take it out")
		}
		if err == nil {
			continue
		}

		what := "argument"
		if i == 0 {
			what = "command"
		} else if isShellScript(argv, i) {
			what = "script"
		}
		return &ArgumentError{i, fmt.Errorf("%s %q %w", what, arg, err)}
	}
	return nil
}

// checkPlaceholders says what is wrong with the placeholders of one argument. It looks
// at the shape of the argument first. The shape does not tell whether a placeholder
// that stands alone is data or code, as in sh -c {path}: that takes knowledge of the
// programs that read an argument as code.
func checkPlaceholders(argv []string, i int) error {
	arg := argv[i]
	placeholder := placeholders.FindString(arg)
	if placeholder == "" {
		return nil
	}

	variable := `"$EXECLOGD_` + strings.ToUpper(strings.Trim(placeholder, "{}")) + `"`
	switch {
	case i == 0 && placeholder == rootPlaceholder:
		return errors.New("has {root}, which is filled in for arguments alone: give the path of a program")
	case i == 0:
		return errors.New("would run the file that has changed: name a program, and give it the path as an argument")
	case isShellScript(argv, i):
		return fmt.Errorf("would run the names of files as code: write %s instead of %s", variable, placeholder)
	case strings.Contains(arg, pathsPlaceholder) && arg != pathsPlaceholder:
		return errors.New("has more than {paths}, which stands for any number of arguments: let it stand alone")
	case !plainArgument.MatchString(placeholders.ReplaceAllString(arg, "\x00")):
		return fmt.Errorf("may be read as code, and with it what a file is called: let %[1]s stand alone, follow key= or be part of a path; "+
			`a script has it as %[2]s, or as an argument, as in sh -c 'echo "$1"' sh %[1]s`, placeholder, variable)
	}

	if program, remedy := codeReader(argv, i); program != "" {
		return fmt.Errorf("is code for %s, and with it what a file is called: %s", program, strings.ReplaceAll(remedy, "$NAME", variable))
	}
	return nil
}

// shells are programs that run their first argument that is not an option as code if
// they have the option -c.
var shells = []string{"sh", "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "lksh", "mksh", "nu", "pwsh", "rbash", "tcsh", "xonsh", "yash", "zsh"}

// codeOptions are the options of programs that the code follows: first the letters of
// short options, of which the last of several counts (perl -ne), and then options
// that are written in full.
var codeOptions = map[string]string{
	"alacritty": "e", "awk": "e", "bun": "ep --print", "elixir": "e", "entr": "s", "env": "S", "ex": "c", "expect": "c", "flock": "c", "gawk": "e --source",
	"gdb": "- -ex -iex", "ghc": "e", "git": "c", "groovy": "e", "guile": "c", "ipython": "c", "julia": "eE --print", "konsole": "e", "lua": "e", "luajit": "e",
	"mariadb": "e --init-command", "mysql": "e --init-command", "node": "ep --print", "nodejs": "ep --print", "npm": "c", "npx": "c", "nvim": "c", "osascript": "e",
	"perl": "eE", "php": "rBRE --run --process-begin --process-code --process-end", "psql": "c", "pypy": "c", "python": "c",
	"R": "e", "Rscript": "e", "racket": "e", "rsync": "e", "ruby": "e", "runuser": "c", "scala": "e", "script": "c", "sed": "e", "su": "c",
	"swipl": "g", "ts-node": "ep --print", "urxvt": "e", "vi": "c", "view": "c", "vim": "c", "xterm": "e",
}

// longCodeOptions are long options that code follows, of whatever program. Their names
// say so.
var longCodeOptions = []string{
	"cmd", "command", "eval", "eval-command", "exec", "execdir", "execute", "expression", "ok", "okdir", "rsh", "split-string", "to-command", "use-compress-program",
}

// scriptFirst are programs whose first argument that is not an option is code.
var scriptFirst = []string{"awk", "gawk", "gsed", "mawk", "nawk", "original-awk", "sed"}

// allCode are programs that read all of their arguments as code, but for some.
var allCode = map[string]struct {
	dataOptions []string // what follows one of these is data
	dashIsData  bool     // what begins with a dash is data
	dataAfter   []string // everything after one of these is data
	remedy      string   // what to write instead
}{
	"gmake":    {dataOptions: makeDataOptions, dashIsData: true, remedy: makeRemedy},
	"make":     {dataOptions: makeDataOptions, dashIsData: true, remedy: makeRemedy},
	"parallel": {dataAfter: []string{":::", "::::"}, remedy: "let the names follow ::: and nothing else"},
	"screen":   {dataOptions: []string{"-c"}, remedy: scriptRemedy},
	"ssh": {
		dataOptions: []string{"-i", "-F", "-E", "-S"},
		remedy:      `a shell of the other machine would read it; let the names be its input, with stdin nul and xargs -0 over there`,
	},
	"tmux":  {dataOptions: []string{"-f", "-S"}, remedy: scriptRemedy},
	"watch": {remedy: scriptRemedy},
}

const scriptRemedy = "write $NAME in a script that it runs"

var makeDataOptions = []string{"-C", "-f", "-I", "-W", "-o", "--directory", "--file", "--makefile", "--include-dir", "--old-file", "--new-file"}

const makeRemedy = `write "$$EXECLOGD_PATH" in a recipe of the makefile, with both $`

// wrappers run the command that they are given.
var wrappers = []string{
	"busybox", "chroot", "chrt", "doas", "env", "flock", "ionice", "nice", "nohup", "nsenter", "runuser", "setpriv", "setsid",
	"stdbuf", "strace", "sudo", "systemd-run", "taskset", "time", "timeout", "toybox", "unbuffer", "unshare", "xargs",
}

// codeReader returns the program that is known to read the argument as code, and what
// to write instead; both are empty if there is none. Which words of a command are
// programs depends on the programs before them. So each word is taken for one whose
// options code follows. For the rest only the first word counts, and behind a wrapper
// any word.
func codeReader(argv []string, i int) (program, remedy string) {
	const variableRemedy = "write $NAME in a script, or have it read the name as another argument"
	beforePlaceholder := argv[i][:placeholders.FindStringIndex(argv[i])[0]]
	joined := strings.TrimSuffix(beforePlaceholder, "=") // the option in -e{path} or --eval={path}
	previous := argv[i-1]                                // the option in -e {path}

	isEval := previous == "eval" // a subcommand, of deno and others
	if isEval || isLongCodeOption(joined) || isLongCodeOption(previous) {
		return filepath.Base(argv[0]), variableRemedy
	}

	hasWrapper := slices.Contains(wrappers, programNamed(argv[0]))
	for j, word := range argv[:i] {
		name := programNamed(word)
		if isCodeOption(name, joined) || j < i-1 && isCodeOption(name, previous) {
			return name, variableRemedy
		}
		if name == "perl" && opensNames(argv[j+1:i]) {
			return name + " -n and -p", `they run one that ends in "|": use sed, or open the file in the script`
		}
		if j > 0 && !hasWrapper {
			continue
		}

		if slices.Contains(scriptFirst, name) && !hasScript(argv[j+1:i]) {
			return name, variableRemedy
		}
		reader, ok := allCode[name]
		isAfter := func(mark string) bool { return slices.Contains(argv[j:i], mark) }
		isData := slices.Contains(reader.dataOptions, previous) ||
			reader.dashIsData && strings.HasPrefix(argv[i], "-") ||
			slices.ContainsFunc(reader.dataAfter, isAfter)
		if ok && !isData {
			return name, reader.remedy
		}
	}
	return "", ""
}

// isCodeOption reports whether code follows an option of a program.
func isCodeOption(program, option string) bool {
	letters, long, _ := strings.Cut(codeOptions[program], " ")
	if slices.Contains(shells, program) {
		letters = "c"
	}
	isShort := len(option) > 1 && option[0] == '-' && option[1] != '-'
	return isShort && strings.IndexByte(letters, option[len(option)-1]) >= 0 || slices.Contains(strings.Fields(long), option)
}

func isLongCodeOption(arg string) bool {
	name := strings.TrimLeft(arg, "-")
	return name != arg && slices.Contains(longCodeOptions, strings.ToLower(name))
}

// hasScript reports whether arguments of awk or sed have the script, or another
// argument that is not an option, or end with the option that the file of the script
// follows.
func hasScript(args []string) bool {
	for k, arg := range args {
		isValue := k > 0 && slices.Contains([]string{"-F", "-v", "-l"}, args[k-1])
		if !strings.HasPrefix(arg, "-") && !isValue {
			return true
		}
	}
	return len(args) > 0 && slices.Contains([]string{"-f", "--file"}, args[len(args)-1])
}

// opensNames reports whether arguments of perl begin with options of which one is -n
// or -p. With these perl opens the files that it is given by a function that runs
// what ends in "|".
func opensNames(args []string) bool {
	for k := 0; k < len(args) && strings.HasPrefix(args[k], "-"); k++ {
		letters := args[k][1:]
		if end := strings.IndexAny(letters, "-CDEFIMVdeimx"); end >= 0 {
			letters = letters[:end] // the rest is the value of that option
		}

		if strings.ContainsAny(letters, "np") {
			return true
		}

		if isCodeOption("perl", args[k]) {
			k++ // its code
		}
	}
	return false
}

// programNamed returns the name of the program that a word names, without a version.
func programNamed(word string) string {
	base := filepath.Base(word)
	if plain := strings.TrimRight(base, "0123456789.-"); plain != "" {
		return plain
	}
	return base
}

// isShellScript reports whether an argument is the script of a shell, or could be:
// any word before it may name the shell.
func isShellScript(argv []string, i int) bool {
	for j := range i {
		if !slices.Contains(shells, programNamed(argv[j])) {
			continue
		}
		if scriptIndex(argv[j+1:]) == i-j-1 || j < i-1 && isCommandOption(argv[i-1]) {
			return true
		}
	}
	return false
}

// scriptIndex returns the index of a shell's script in its arguments: if -c is among
// the options, the first argument that is neither an option nor the value of one. It
// returns -1 if there is no script.
func scriptIndex(args []string) int {
	hasCommand := false
	for k := 0; k < len(args); k++ {
		arg := args[k]
		isOption := len(arg) > 1 && (arg[0] == '-' || arg[0] == '+')
		switch {
		case !isOption && hasCommand:
			return k
		case !isOption:
			return -1 // a file
		case isCommandOption(arg):
			hasCommand = true
		}

		isLong := strings.HasPrefix(arg, "--")
		if !isLong && strings.ContainsAny(arg[len(arg)-1:], "oO") || arg == "--rcfile" || arg == "--init-file" {
			k++ // its value, as in -o errexit
		}
	}
	return -1
}

// isCommandOption reports whether an option of a shell is -c, or several options with
// that among them.
func isCommandOption(arg string) bool {
	isShort := len(arg) > 1 && arg[0] == '-' && arg[1] != '-'
	return isShort && strings.Contains(arg, "c") || isLongCodeOption(arg)
}
