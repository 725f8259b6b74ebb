package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
)

// completionTime is how long somebody who has pressed Tab waits for a daemon that hangs.
const completionTime = 2 * time.Second

// complete prints what the last argument, a word that is being typed, can become after
// the arguments before it: one word a line, with a tab and an explanation where there is
// one. Where it prints nothing, names of files are meant. Only the completions of shells
// call it.
func complete(ctx context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) == 0 {
		return config.Usagef("execlogd complete takes the words of a command line")
	}
	ctx, stop := context.WithTimeout(ctx, completionTime)
	defer stop()

	// Bash makes three words of -flag=value.
	before := slices.DeleteFunc(slices.Clone(args[:len(args)-1]), func(word string) bool { return word == "=" })
	typed := args[len(args)-1]
	if typed == "=" {
		typed = ""
	}
	for _, word := range completions(ctx, before, typed) {
		if strings.HasPrefix(word, typed) {
			if _, err := fmt.Fprintln(stdout, word); err != nil {
				return err
			}
		}
	}
	return nil
}

// completions returns what can follow the words of a command line, as complete prints
// it: all of it, whatever of it is typed already.
func completions(ctx context.Context, before []string, typed string) []string {
	help := helpOf(ctx)
	verbs := help.verbs()
	if len(before) == 0 && !strings.HasPrefix(typed, "-") {
		return verbs
	}

	verb := ""
	if len(before) > 0 && slices.ContainsFunc(verbs, func(v string) bool { return strings.HasPrefix(v, before[0]+"\t") }) {
		verb, before = before[0], before[1:]
		help = helpOf(ctx, verb)
	}
	if verb == "why" && len(before) > 0 && before[0] == "run" {
		before = before[1:]
		help = helpOf(ctx, "why", "run")
	}

	flags := help.flags()
	given := make(map[string]string) // the values of flags
	for i := 0; i < len(before); i++ {
		name, value, hasValue := strings.Cut(strings.TrimLeft(before[i], "-"), "=")
		f, known := flags[name]
		switch {
		case !strings.HasPrefix(before[i], "-") || before[i] == "--":
			return nil // what follows flags and the first argument are names of files
		case known && f.takes && !hasValue && i+1 == len(before):
			return f.values()
		case known && f.takes && !hasValue:
			i++
			value = before[i]
		}
		given[name] = value
	}

	switch {
	case strings.HasPrefix(typed, "-"):
		return flagWords(flags, typed)
	case verb == "run":
		return programs(typed)
	case verb == "trigger":
		return routeNames(ctx, given["control"])
	}
	return nil
}

// A helpText is what a command prints at -help. It lists all flags, of whatever table
// they come.
type helpText string

func helpOf(ctx context.Context, command ...string) helpText {
	var b strings.Builder
	_ = run(ctx, append(command, "-help"), &b, io.Discard) // without a help there are no flags
	return helpText(b.String())
}

// verbs returns the commands with their explanations.
func (h helpText) verbs() (verbs []string) {
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+) +(\S.*)$`).FindAllStringSubmatch(string(h), -1) {
		verbs = append(verbs, m[1]+"\t"+m[2])
	}
	return verbs
}

// A helpFlag is a flag as the help describes it.
type helpFlag struct {
	name  string
	takes bool // a value; otherwise it is true or false
	text  string
}

func (h helpText) flags() map[string]helpFlag {
	flags := make(map[string]helpFlag)
	for _, m := range regexp.MustCompile(`(?m)^  -(\S+)( \S+)?(?:\n    )?\t(.*)$`).FindAllStringSubmatch(string(h), -1) {
		flags[m[1]] = helpFlag{name: m[1], takes: m[2] != "", text: m[3]}
	}
	return flags
}

// values returns the words that the flag takes; nil if it takes others.
func (f helpFlag) values() []string {
	if !f.takes {
		return []string{"false", "true"}
	}
	return config.Choices(f.name)
}

// flagWords returns the flags, or with a flag and its = typed, that with its values.
func flagWords(flags map[string]helpFlag, typed string) (words []string) {
	dash := typed[:len(typed)-len(strings.TrimLeft(typed, "-"))]
	if flag, _, ok := strings.Cut(typed, "="); ok {
		for _, value := range flags[strings.TrimLeft(flag, "-")].values() {
			words = append(words, flag+"="+value)
		}
		return words
	}

	for _, f := range flags {
		words = append(words, dash+f.name+"\t"+f.text)
	}
	slices.Sort(words)
	return words
}

// programs returns the programs in $PATH whose names begin with prefix.
func programs(prefix string) (names []string) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, _ := os.ReadDir(dir) // some of the directories are missing on every machine
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), prefix) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// routeNames asks the daemon with a control socket, or the only one, for its routes.
func routeNames(ctx context.Context, socket string) []string {
	res, err := control.Do(ctx, socket, http.MethodGet, "/routes", nil)
	if err != nil {
		return nil // whoever presses Tab wants no error message
	}
	defer res.Body.Close()
	names, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return nil
	}
	return strings.FieldsFunc(string(names), func(r rune) bool { return r == '\n' }) // they may hold spaces
}
