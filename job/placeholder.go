package job

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What stands for names in the arguments of a command.
const (
	pathPlaceholder  = "{path}"
	pathsPlaceholder = "{paths}"
	rootPlaceholder  = "{root}"
)

// placeholders finds any of them.
var placeholders = regexp.MustCompile(`\{(?:paths?|root)\}`)

// plainArgument is the shape of an argument that may hold a placeholder, with a
// NUL for each. It is alone, after key= or a scheme, or part of a path. No
// language that programs are told to run code in gets by with these characters:
// white space, quotes, brackets, ; $ ` | & < > * ! , # and \ are not among them,
// nor is a colon before a placeholder, after which scp and rsync have a shell of
// another machine read the name.
var plainArgument = regexp.MustCompile(`^(?:-{0,2}[\pL\pN_.-]+=)?(?:@|[a-z][a-z0-9+.-]*://)?` +
	`[\pL\pN_./%@~-]*\x00(?:[\pL\pN_./%@~+=-]*\x00)*[\pL\pN_./%@~+:=-]*$`)

// An ArgumentError is what is wrong with one argument of a command.
type ArgumentError struct {
	Index int // in Command.Argv
	Err   error
}

func (e *ArgumentError) Error() string { return e.Err.Error() }

func (e *ArgumentError) Unwrap() error { return e.Err }

// checkArguments refuses arguments that cannot be, and placeholders where a
// program could read as code what a file is called. The error is an
// *ArgumentError.
func checkArguments(argv []string) error {
	for i, arg := range argv {
		var err error
		if strings.Contains(arg, "\x00") {
			err = errors.New("has a NUL byte, which no argument can hold: take it out")
		} else {
			err = checkPlaceholders(argv, i)
		}
		if err != nil {
			return &ArgumentError{i, fmt.Errorf("%s %w", describeArgument(argv, i), err)}
		}
	}
	return nil
}

// describeArgument is how errors call an argument.
func describeArgument(argv []string, i int) string {
	what := "argument"
	switch {
	case i == 0:
		what = "command"
	case isShellScript(argv, i):
		what = "script"
	}
	return fmt.Sprintf("%s %q", what, argv[i])
}

// checkPlaceholders judges the placeholders of one argument by its shape first.
// The shape cannot tell a name that is data from one that is the whole of a
// program, as in sh -c {path}; that takes knowledge of the programs that read an
// argument as code.
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

// shells run the first argument that is no option if they have the option -c.
var shells = []string{"sh", "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "lksh", "mksh", "nu", "pwsh", "rbash", "tcsh", "xonsh", "yash", "zsh"}

// codeOptions are the options of programs after which an argument is code: letters,
// which may end several short options (perl -ne), and what is written in full.
var codeOptions = map[string]string{
	"alacritty": "e", "awk": "e", "bun": "ep --print", "elixir": "e", "entr": "s", "env": "S", "ex": "c", "expect": "c", "flock": "c", "gawk": "e --source",
	"gdb": "- -ex -iex", "ghc": "e", "git": "c", "groovy": "e", "guile": "c", "ipython": "c", "julia": "eE --print", "konsole": "e", "lua": "e", "luajit": "e",
	"mariadb": "e --init-command", "mysql": "e --init-command", "node": "ep --print", "nodejs": "ep --print", "npm": "c", "npx": "c", "nvim": "c", "osascript": "e",
	"perl": "eE", "php": "rBRE --run --process-begin --process-code --process-end", "psql": "c", "pypy": "c", "python": "c",
	"R": "e", "Rscript": "e", "racket": "e", "rsync": "e", "ruby": "e", "runuser": "c", "scala": "e", "script": "c", "sed": "e", "su": "c",
	"swipl": "g", "ts-node": "ep --print", "urxvt": "e", "vi": "c", "view": "c", "vim": "c", "xterm": "e",
}

// longCodeOptions are those of any program, without their dashes: they are called
// after what they do.
var longCodeOptions = []string{
	"cmd", "command", "eval", "eval-command", "exec", "execdir", "execute", "expression", "ok", "okdir", "rsh", "split-string", "to-command", "use-compress-program",
}

// scriptFirst are programs whose first argument that is no option is code.
var scriptFirst = []string{"awk", "gawk", "gsed", "mawk", "nawk", "original-awk", "sed"}

// allCode are programs that read all of their arguments as code.
var allCode = map[string]struct {
	data   []string // options whose argument is none
	glued  bool     // what begins with a dash is none either
	after  []string // after one of these there is none
	remedy string
}{
	"gmake":    {makeData, true, nil, makeRemedy},
	"make":     {makeData, true, nil, makeRemedy},
	"parallel": {nil, false, []string{":::", "::::"}, "let the names follow ::: and nothing else"},
	"screen":   {[]string{"-c"}, false, nil, "write $NAME in a script that it runs"},
	"ssh":      {[]string{"-i", "-F", "-E", "-S"}, false, nil, `a shell of the other machine would read it; let the names be its input, with stdin nul and xargs -0 over there`},
	"tmux":     {[]string{"-f", "-S"}, false, nil, "write $NAME in a script that it runs"},
	"watch":    {nil, false, nil, "write $NAME in a script that it runs"},
}

var makeData = []string{"-C", "-f", "-I", "-W", "-o", "--directory", "--file", "--makefile", "--include-dir", "--old-file", "--new-file"}

const makeRemedy = `write "$$EXECLOGD_PATH" in a recipe of the makefile, with both $`

// wrappers run the command that they are given.
var wrappers = []string{
	"busybox", "chroot", "chrt", "doas", "env", "flock", "ionice", "nice", "nohup", "nsenter", "runuser", "setpriv", "setsid",
	"stdbuf", "strace", "sudo", "systemd-run", "taskset", "time", "timeout", "toybox", "unbuffer", "unshare", "xargs",
}

// codeReader is the program that is known to read the argument as code, and what
// to write instead; empty if there is none. Which word of a command is a program
// depends on the programs before it, so that any word counts as one whose options
// are looked at as well; others count as the first, or behind a wrapper.
func codeReader(argv []string, i int) (program, remedy string) {
	const asVariable = "write $NAME in a script, or have it read the name as another argument"
	before := argv[i][:placeholders.FindStringIndex(argv[i])[0]]
	option, glued := argv[i-1], strings.TrimSuffix(before, "=")
	if isLongCodeOption(glued) || isLongCodeOption(option) || option == "eval" { // a command of deno, and others
		return filepath.Base(argv[0]), asVariable
	}
	for j, word := range argv[:i] {
		name := programOf(word)
		if isCodeOption(name, glued) || j < i-1 && isCodeOption(name, option) {
			return name, asVariable
		}
		if name == "perl" && opensNames(argv[j+1:i]) {
			return name + " -n and -p", `they run one that ends in "|": use sed, or open the file in the script`
		}
		if j > 0 && !slices.Contains(wrappers, programOf(argv[0])) {
			continue
		}
		if slices.Contains(scriptFirst, name) && !hasScript(argv[j+1:i]) {
			return name, asVariable
		}
		known, ok := allCode[name]
		isData := slices.Contains(known.data, option) || known.glued && strings.HasPrefix(argv[i], "-") ||
			slices.ContainsFunc(known.after, func(mark string) bool { return slices.Contains(argv[j:i], mark) })
		if ok && !isData {
			return name, known.remedy
		}
	}
	return "", ""
}

// isCodeOption says whether code follows an option of a program.
func isCodeOption(program, option string) bool {
	letters, long, _ := strings.Cut(codeOptions[program], " ")
	if slices.Contains(shells, program) {
		letters = "c"
	}
	short := len(option) > 1 && option[0] == '-' && option[1] != '-'
	return short && strings.IndexByte(letters, option[len(option)-1]) >= 0 || slices.Contains(strings.Fields(long), option)
}

func isLongCodeOption(arg string) bool {
	name := strings.TrimLeft(arg, "-")
	return name != arg && slices.Contains(longCodeOptions, strings.ToLower(name))
}

// hasScript says whether the arguments of awk or sed have its script, or another
// argument that is no option, or end where the file of its script is to follow.
func hasScript(args []string) bool {
	for k, arg := range args {
		isValue := k > 0 && slices.Contains([]string{"-F", "-v", "-l"}, args[k-1])
		if !strings.HasPrefix(arg, "-") && !isValue {
			return true
		}
	}
	return len(args) > 0 && slices.Contains([]string{"-f", "--file"}, args[len(args)-1])
}

// opensNames says whether arguments of perl begin with options of which one is -n
// or -p: with these it opens the files that it is given by a function that runs
// what ends in "|".
func opensNames(args []string) bool {
	for k := 0; k < len(args) && strings.HasPrefix(args[k], "-"); k++ {
		options := args[k][1:]
		if end := strings.IndexAny(options, "-CDEFIMVdeimx"); end >= 0 {
			options = options[:end] // the rest belongs to that one
		}
		if strings.ContainsAny(options, "np") {
			return true
		}
		if isCodeOption("perl", args[k]) {
			k++
		}
	}
	return false
}

// programOf is what a program is called that a word names, without its version.
func programOf(word string) string {
	base := filepath.Base(word)
	if plain := strings.TrimRight(base, "0123456789.-"); plain != "" {
		return plain
	}
	return base
}

// isShellScript says whether an argument is what a shell is given to run, or
// could be: the word that names the shell may be anywhere before it.
func isShellScript(argv []string, i int) bool {
	for j := range i {
		if !slices.Contains(shells, programOf(argv[j])) {
			continue
		}
		if scriptOf(argv[j+1:]) == i-j-1 || j < i-1 && isCommandOption(argv[i-1]) {
			return true
		}
	}
	return false
}

// scriptOf is the index of a shell's script in its arguments: of the first that is
// neither an option nor the value of one, if -c is among the options. It is -1
// without a script.
func scriptOf(args []string) int {
	command := false
	for k := 0; k < len(args); k++ {
		arg := args[k]
		isOption := len(arg) > 1 && (arg[0] == '-' || arg[0] == '+')
		switch {
		case !isOption && command:
			return k
		case !isOption:
			return -1 // a file
		case isCommandOption(arg):
			command = true
		}
		if isLong := strings.HasPrefix(arg, "--"); !isLong && strings.ContainsAny(arg[len(arg)-1:], "oO") || arg == "--rcfile" || arg == "--init-file" {
			k++ // as in -o errexit
		}
	}
	return -1
}

// isCommandOption says whether an option of a shell is -c, which may be anywhere
// among several.
func isCommandOption(arg string) bool {
	short := len(arg) > 1 && arg[0] == '-' && arg[1] != '-'
	return short && strings.Contains(arg, "c") || isLongCodeOption(arg)
}

// shellScript is the script of a shell that is given one to run.
func shellScript(argv []string) (string, bool) {
	if !slices.Contains(shells, programOf(argv[0])) {
		return "", false
	}
	if k := scriptOf(argv[1:]); k >= 0 {
		return argv[1+k], true
	}
	return "", false
}
