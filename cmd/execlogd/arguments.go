package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/execlog/execlogd/internal/config"
)

// daemonFlags returns the command line of the daemon with flags alone, as config.Arguments
// does. What is neither a directory nor a configuration file is an error that says what was
// probably meant. Commands are those that may come in its place.
func daemonFlags(name, usage string, args []string, commands ...string) ([]string, error) {
	flags, rest, err := config.Arguments(name, usage, args)
	if err == nil && len(rest) > 0 {
		err = explainWords(name, flags, rest, commands)
	}
	return flags, err
}

// otherCommands are commands of other programs, with what they are here.
var otherCommands = map[string]string{
	"serve": "execlogd", "server": "execlogd", "start": "execlogd", "dev": "execlogd", "up": "execlogd", "preview": "execlogd", "live": "execlogd", "http": "execlogd",
	"build": "execlogd trigger build", "status": "execlogd log", "ps": "execlogd log", "list": "execlogd log", "logs": "execlogd log", "restart": "execlogd reload",
	"new": "execlogd init", "create": "execlogd init", "setup": "execlogd init",
	"config": "execlogd check", "lint": "execlogd check", "test": "execlogd check", "validate": "execlogd check", "verify": "execlogd check",
	"exec": "execlogd run", "on": "execlogd run", "tail": "execlogd log -f", "events": "execlogd watch", "explain": "execlogd why",
}

// explainWords returns the error for words that follow the flags of the daemon, or of check,
// the first of which is no place. It says what was probably meant.
func explainWords(name string, flags, words, commands []string) error {
	word, last := words[0], ""
	if len(flags) > 0 {
		last = flags[len(flags)-1]
	}
	if right := config.MisplacedValue(last, word); right != "" {
		return config.Usagef("the value of %s follows an equals sign: write %s", last, right)
	}

	ours, isOther := otherCommands[strings.ToLower(word)]
	host, port, notAddress := net.SplitHostPort(word)
	number, notNumber := strconv.ParseUint(word, 10, 16)
	switch info, err := os.Stat(word); {
	case err == nil:
		return config.Usagef("%s is %s: name a directory, as in %s %s, or a configuration file, *.toml", word, config.FileKind(info), name, config.ShellWord(filepath.Dir(word)))
	case notNumber == nil:
		return config.Usagef("what is %q? If it is a port, write %s -port %d", word, name, number)
	case notAddress == nil && !strings.Contains(port, "/"):
		return config.Usagef("what is %q? If it is an address, write %s %s", word, name, config.AddressFlags(host, port))
	case strings.Contains(word, "://"):
		return config.Usagef("%s is a URL, and a directory is served: pages of another server can have live reload with -static=false", word)
	case len(commands) > 0 && slices.Contains([]string{"stop", "quit", "kill", "down"}, strings.ToLower(word)):
		return config.Usagef("%s is no command: the key q or Ctrl-C ends a daemon at its terminal, and systemctl stop execlogd the service", word)
	case len(commands) > 0 && isOther:
		return config.Usagef("%s is no command: write %s", word, strings.Join(append([]string{ours}, words[1:]...), " "))
	}
	if meant := config.Nearest(word, commands); meant != "" {
		return config.Usagef("what is %q? It is neither a command nor a directory: is %s meant?", word, meant)
	}
	if len(commands) == 0 || strings.ContainsAny(word, "./~") {
		return fmt.Errorf("%s does not exist: name a directory, or a configuration file", word)
	}
	return config.Usagef("what is %q? It is neither a command (%s) nor a directory", word, strings.Join(commands, ", "))
}

// manualCommand is what shows the manual of a program to somebody in a directory: beside the
// program where it was built, or else the installed one.
func manualCommand(program, here string) string {
	page := filepath.Join(filepath.Dir(program), "../packaging/man/execlogd.1")
	if !config.IsFile(page) {
		return "man execlogd"
	}
	if rel, ok := config.Below(here, page); ok {
		page = "./" + rel // with a slash it is no name of a manual
	}
	return "man " + config.ShellWord(page)
}
