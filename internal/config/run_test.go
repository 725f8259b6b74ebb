package config

import (
	"errors"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/execlog/execlogd/job"
)

// Each flag of execlogd run has the effect of the key with its name.
func TestFlagsOfRunAreKeysOfARoute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for flags, keys := range map[string]string{
		"-delay 1s -debounce 2s -settle 3s": `delay = "1s"; debounce = "2s"; settle = "3s"`,
		"-hold 3m":                          `hold = "3m"`,
		"-timeout 1m -grace 2s":             `timeout = "1m"; grace = "2s"`,
		"-match *.a -match /b -ignore c":    `match = ["*.a", "/b"]; ignore = ["c"]`,
		"-events modify,create":             `events = ["modify", "create"]`,
		"-events modify -events create":     `events = ["modify", "create"]`,
		"-outputs out/ -outputs *.o":        `outputs = ["out/", "*.o"]`,
		"-per file -stdin nul":              `per = "file"; stdin = "nul"`,
		"-on-busy ignore -dir sub":          `on_busy = "ignore"; dir = "sub"`,
		"-leave java -leave sc*":            `leave = ["java", "sc*"]`,
		"-retries 3 -backoff 5s":            `retries = 3; backoff = "5s"`,
		"-leave true":                       `leave = true`,
		"-leave java -leave=false":          `leave = false`,
		"-stop-signal int -recursive=false": `stop_signal = "SIGINT"; recursive = false`,
		"-on-success a -on-failure-run b":   `on_success = "a"; on_failure_run = "b"`,
		"-notify":                           `notify = true`,
		"-signal hup":                       `signal = "SIGHUP"; service = true`,
		"-restart":                          `on_busy = "restart"`,
		"-env A=1 -env B=x=y -env=C=":       `env = { A = "1", B = "x=y", C = "" }`,
		"-delay=1s -postpone":               `delay = "1s"`,
	} {
		got, err := ParseRun("execlogd run", "", append(strings.Fields(flags), "true"))
		if err != nil {
			t.Errorf("%s: %v", flags, err)
			continue
		}
		text := "[[route]]\nname = 'run'\nrun = ['true']\n" + strings.ReplaceAll(keys, "; ", "\n")
		file, wrong := parse("f", dir, []byte(text))
		if wrong != nil {
			t.Errorf("%s: %v", keys, wrong)
			continue
		}
		if want := file.Routes[0]; !reflect.DeepEqual(asInFile(got.Route), asInFile(want)) {
			t.Errorf("%s:\n got %+v\nwant %+v", flags, got.Route, want)
		}
	}
}

// asInFile returns a route without the fields that have another default in a file than
// for execlogd run.
func asInFile(c Route) Route {
	c.table, c.Start, c.IgnoreFiles = KeyPath{}, false, false
	if c.Service.Input == job.TerminalInput {
		c.Service.Input = job.NoInput
	}
	return c
}

func TestFlagsOfRunSayWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"-signal STOP true":           `-signal is "STOP": want a signal other than SIGSTOP`,
		"-signal HUP -per file true":  "drop -per file",
		"-recursive=no true":          `-recursive is "no": write -recursive=false`,
		"-on-busy wait true":          `-on-busy is "wait": want one of ignore, queue, restart`,
		"-env A true":                 `-env is "A": want KEY=VALUE`,
		"-env =x true":                `"" is no name of a variable`,
		"-shell date true":            `there are both -shell and a command, "true": drop one of them`,
		"-service true":               "there is no flag -service",
		"-restart=perhaps -path . ls": `-restart is "perhaps": want true or false`,
	} {
		_, err := ParseRun("execlogd run", "", strings.Fields(args))
		if _, ok := errors.AsType[UsageError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a usage error with %s", args, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "0:0") {
			t.Errorf("%s: %v has a position in a file", args, err)
		}
	}
}

// What a message says to write means the same word to a shell.
func TestShellWord(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	for _, word := range []string{"docs", "../a-b_c.d/é", "my site", "it's", "*.go", "~/x", "$HOME", `a\b"c`, "a\nb'", "caf\xe9", "\x1b[31m", ""} {
		quoted := ShellWord(word)
		out, err := exec.Command(shell, "-c", "printf %s "+quoted).CombinedOutput()
		if err != nil || string(out) != word || strings.ContainsAny(quoted, "\n\x1b") {
			t.Errorf("%q is written %q, which is %q, %v", word, quoted, out, err)
		}
	}
	if got := ShellWord("../a-b_c.d/é"); got != "../a-b_c.d/é" {
		t.Errorf("a plain word is written %s", got)
	}
}
