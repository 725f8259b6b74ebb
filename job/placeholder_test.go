package job

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Words of a command are separated by spaces; an underscore is a space in a word.
func words(command string) []string {
	list := strings.Split(command, " ")
	for i, w := range list {
		list[i] = strings.ReplaceAll(w, "_", " ")
	}
	return list
}

// Arguments are refused in which a name could be code, and the error has their index.
func TestNamesWouldBeCode(t *testing.T) {
	tests := []struct {
		want     string
		commands []string
	}{
		{"would run the names of files as code", []string{ // for a shell, at any place in the command
			"sh -c cat_{path}", "/bin/sh -c cat_{root}/x", "sh -c {path}", "sh -ce {path}", "sh -c -e {path}", "sh -c -- {path}", "sh -c {paths}",
			"bash -o errexit -c rm_{path}", "bash -euo pipefail -c rm_{path}", "bash --init-file x -c {path}", "bash --norc -c {root}",
			"env sh -c echo_{path}", "env -i A=b sh -c {path}", "nice -n 5 dash -ec {path}", "timeout -s KILL 5 zsh -c {path}", "setsid sh -c {path}",
			"sudo -u www sh -c {path}", "docker exec web sh -c {path}", "xargs -0 sh -c {path}", "find . -exec sh -c {path} ;",
			"fish --command {path}", "busybox sh -c {path}",
		}},
		{"is code for python", []string{"python -c {path}", "python3.11 -Ic {path}", "env python3 -c {path}"}},
		{"is code for lua", []string{"lua5.4 -e {path}"}},
		{"is code for make", []string{"make {path}", "make SRC={path}", "nice make -j 4 {paths}"}},
		{"is code for ", []string{
			// By an option.
			"deno eval {path}", "xterm -e {path}", "fish -c{path}",
			"perl -e {path}", "perl -ne {path}", "perl -e{path}", "ruby -e {path}", "node --eval={path}", "node -p {path}", "php -r {path}",
			"awk {path} file", "mawk -F : {path}", "sed {path} file", "sed -i -e {path} file", "psql -c {path}", "vim -c {path}", "su www -c {path}",
			"env -S {path}", "flock lock -c {path}", "git -c core.pager={path} log", "npx -c {path}", "rsync -e {path} a b",
			"find . -execdir {path} ;", "anything --eval {path}", "anything --exec={path}",

			// All arguments are code.
			"ssh host {path}", "ssh -o ProxyCommand={path} host", "ssh host cat {path}",
			"watch cat {path}", "tmux display-message {path}", "parallel gzip {path}",
		}},
		{"is code for perl -n and -p", []string{"perl -ne print {path}", "perl -lpi -e s/a/b/ {paths}"}},
		{"may be read as code", []string{ // by the shape alone, whatever the program
			"unknown eval_{path}", "unknown {path}_", "unknown '{path}'", `unknown "{path}"`, "unknown open({path})", "unknown [{path}]", "unknown {{path}}",
			"unknown ${path}", "unknown #{path}", "unknown `{path}`", "unknown x;{path}", "unknown {path};x", "unknown {path}|x", "unknown <{path}", "unknown >{path}",
			"unknown {path}&", "unknown *{path}", "unknown x\n{path}", "unknown x,{path}", "unknown \\{path}", "unknown !{path}", "unknown a=b={path}",
			"scp x host:{path}", "ssh host cat_{path}", "awk /{path}/_{print} file", "python -c open('{path}')", "perl -e print_'{root}'",
		}},
		{"would run the file", []string{"{path} x", "{paths}"}},
		{"has {root}, which is filled in for arguments alone", []string{"{root}/x"}},
		{"has more than {paths}", []string{"echo x{paths}"}},
	}
	for _, tt := range tests {
		for _, command := range tt.commands {
			argv := words(command)
			err := checkArguments(argv)
			if err == nil {
				t.Errorf("%q is taken", argv)
				continue
			}
			if at := err.(*ArgumentError).Index; !strings.Contains(err.Error(), tt.want) || !placeholders.MatchString(argv[at]) {
				t.Errorf("%q: argument %d: %v; want %q", argv, at, err, tt.want)
			}
		}
	}
}

func TestNamesAreArguments(t *testing.T) {
	for _, command := range []string{
		"cat {path}", "cat {paths}", "dd if={path} of={root}/out", "convert {path} --out={path}.png", "cc -I{root}/include -c {path} -o {path}.o",
		"gcc -c {path}", "sass -c {path}", "gzip -c {path}", "grep -e x {path}", "jq -c . {path}", "tar -ce {path}", "curl -d @{path} http://x/",
		"curl file://{path}", "git -C {root} add {path}", "npm run lint -- {paths}", "docker run -v {root}:/site image", "docker run image sh -c x sh {path}", "find {root} -name *.o -exec rm {} ;",
		"sh {path}", "sh -ex {path}", "sh build.sh {path} out", "bash -c cat_\"$1\" bash {path}", "bash -o errexit -c x sh {paths}", "python3 -c print(1) {path}",
		"python3 {path}", "node --check {path}", "ruby -c {path}", "perl -c {path}", "perl -e 1 {path}", "perl -Mstrict x.pl {path}", "awk {print} {path}", "awk -f {path}",
		"awk -v x=1 -f p.awk {path}", "sed -n p {path}", "sed -i s/a/b/ {paths}", "make -C {root}", "make -f {root}/Makefile --directory={root}", "ssh -i {root}/key host true",
		"npm run watch {path}", "npm run make -- {path}", "go run ./tools/watch {path}", "env X={path} sh x.sh", "nice -n 10 cat {path}", "xargs -0 cp -t {root}/out",
		"parallel gzip ::: {paths}", "rsync -a {root}/ host:/srv/", "diff {path} {path}~", "tool {root}/ü/a+b@2x.png", "tool -DNAME={path}", "cmp {root}/{root}",
	} {
		if err := checkArguments(words(command)); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
}

// No program runs a name as code that it gets in a way that is allowed. Each of the
// names would make a file PWNED as code.
func TestHostileNamesRunNothing(t *testing.T) {
	names := []string{
		"$(touch PWNED).x", "`touch PWNED`", ";touch PWNED", ";touch PWNED;", "|touch PWNED", "x|touch PWNED|", ";touch PWNED |", "&&touch PWNED", "x\ntouch PWNED\n", "'; touch PWNED; '",
		`"; touch PWNED; "`, "-e touch PWNED", "--eval=touch PWNED", "a:=$(shell touch PWNED)", "$(shell touch PWNED)", "x=$(shell touch PWNED)", "#{`touch PWNED`}", "#(touch PWNED)",
		`");system("touch PWNED");("`, "');system('touch PWNED');('", "e touch PWNED", ";system(\"touch PWNED\")", "%s%n", "a b", "*", "\xff",
	}
	commands := [][]string{
		{"cat", "{path}"},
		{"cat", "{paths}"},
		{"dd", "if={path}", "of={path}.copy", "status=none"},
		{"cp", "{path}", "{root}/out"},
		{"cp", "{path}", "out/{path}"},
		{"env", "X={path}", "sh", "-c", `cat "$X"`},
		{"sh", "-c", `cat "$1"`, "sh", "{path}"},
		{"bash", "-o", "errexit", "-c", `cat "$@"`, "bash", "{paths}"},
		{"nice", "sh", "read.sh", "{path}"},
		{"gzip", "-c", "{path}"},
		{"grep", "-c", "", "{path}"},
		{"awk", "{print}", "{path}"},
		{"sed", "-n", "p", "{path}"},
		{"sed", "-i", "s/x/y/", "{path}"},
		{"python3", "-c", "import sys; print(open(sys.argv[1], 'rb').read())", "{path}"},
		{"perl", "-e", `open(my $f, "<", shift) or die; print <$f>`, "{path}"},
		{"node", "-e", `console.log(require("fs").statSync(process.argv[1]).size)`, "{path}"},
		{"find", "{path}", "-prune", "-exec", "cat", "{}", ";"},
		{"tar", "-cf", "out.tar", "{path}"},
		{"make", "-C", "{root}", "-f", "{root}/Makefile", "-I{root}"},
		{"git", "-C", "{root}", "hash-object", "{path}"},
		{"xargs", "-0", "cat"},
	}
	jobs := newTestRunner(t)
	// The root has such a name as well.
	jobs.dir = filepath.Join(jobs.dir, "$(touch PWNED)`touch PWNED`$(shell touch PWNED)")
	write(t, filepath.Join(jobs.dir, "read.sh"), `cat "$1"; echo "$EXECLOGD_PATH" "$EXECLOGD_PATHS"`)
	write(t, filepath.Join(jobs.dir, "Makefile"), "all:\n\techo \"$$EXECLOGD_PATH\"\n")
	for _, name := range names {
		write(t, filepath.Join(jobs.dir, name), "x")
	}
	for _, argv := range commands {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Logf("%s is not here", argv[0])
			continue
		}
		c := Command{Argv: argv, Input: NULPaths}
		for _, name := range names {
			jobs.run(c, name)
		}
		if r := jobs.run(c, names...); r.Err != nil && argv[0] != "cp" && argv[0] != "make" {
			t.Logf("%q: %v\n%s", argv, r, r.Output)
		}
		if pwned(t, jobs.dir) {
			t.Errorf("%q has run what a file is called", argv)
		}
	}
	jobs.run(Command{Shell: `eval "cat $EXECLOGD_PATH"`}, names[0])
	if !pwned(t, jobs.dir) {
		t.Error("a name that is run as code is not noticed")
	}
}

// pwned removes the files PWNED below the parent of a directory, and reports whether
// there was one.
func pwned(t *testing.T, dir string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), "PWNED") {
			found = true
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
