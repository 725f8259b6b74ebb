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
	list := strings.Fields(command)
	for i, w := range list {
		list[i] = strings.ReplaceAll(w, "_", " ")
	}
	return list
}

// Arguments are refused in which a name could be code, and the error has their index.
func TestNamesWouldBeCode(t *testing.T) {
	const (
		shape  = "may be read as code"
		script = "would run the names of files as code"
		known  = "is code for "
	)
	tests := []struct{ command, want string }{
		// Shells, at any place in the command.
		{"sh -c cat_{path}", script},
		{"/bin/sh -c cat_{root}/x", script},
		{"sh -c {path}", script},
		{"sh -ce {path}", script},
		{"sh -c -e {path}", script},
		{"sh -c -- {path}", script},
		{"sh -c {paths}", script},
		{"bash -o errexit -c rm_{path}", script},
		{"bash -euo pipefail -c rm_{path}", script},
		{"bash --init-file x -c {path}", script},
		{"bash --norc -c {root}", script},
		{"deno eval {path}", known},
		{"xterm -e {path}", known},
		{"env sh -c echo_{path}", script},
		{"env -i A=b sh -c {path}", script},
		{"nice -n 5 dash -ec {path}", script},
		{"timeout -s KILL 5 zsh -c {path}", script},
		{"setsid sh -c {path}", script},
		{"sudo -u www sh -c {path}", script},
		{"docker exec web sh -c {path}", script},
		{"xargs -0 sh -c {path}", script},
		{"find . -exec sh -c {path} ;", script},
		{"fish --command {path}", script},
		{"fish -c{path}", known + "fish"},
		{"busybox sh -c {path}", script},

		// Other interpreters, by their options.
		{"python -c {path}", known + "python"},
		{"python3.11 -Ic {path}", known + "python"},
		{"env python3 -c {path}", known + "python"},
		{"perl -e {path}", known + "perl"},
		{"perl -ne {path}", known + "perl"},
		{"perl -e{path}", known + "perl"},
		{"ruby -e {path}", known + "ruby"},
		{"node --eval={path}", known + "node"},
		{"node -p {path}", known + "node"},
		{"php -r {path}", known + "php"},
		{"lua5.4 -e {path}", known + "lua"},
		{"awk {path} file", known + "awk"},
		{"mawk -F : {path}", known + "mawk"},
		{"sed {path} file", known + "sed"},
		{"sed -i -e {path} file", known + "sed"},
		{"psql -c {path}", known + "psql"},
		{"vim -c {path}", known + "vim"},
		{"su www -c {path}", known + "su"},
		{"env -S {path}", known + "env"},
		{"flock lock -c {path}", known + "flock"},
		{"git -c core.pager={path} log", known + "git"},
		{"npx -c {path}", known + "npx"},
		{"rsync -e {path} a b", known + "rsync"},
		{"find . -execdir {path} ;", known + "find"},
		{"anything --eval {path}", known + "anything"},
		{"anything --exec={path}", known + "anything"},

		// Programs that read every argument as code.
		{"make {path}", known + "make"},
		{"make SRC={path}", known + "make"},
		{"nice make -j 4 {paths}", known + "make"},
		{"ssh host {path}", known + "ssh"},
		{"ssh -o ProxyCommand={path} host", known + "ssh"},
		{"ssh host cat {path}", known + "ssh"},
		{"watch cat {path}", known + "watch"},
		{"tmux display-message {path}", known + "tmux"},
		{"parallel gzip {path}", known + "parallel"},
		{"perl -ne print {path}", known + "perl -n and -p"},
		{"perl -lpi -e s/a/b/ {paths}", known + "perl -n and -p"},

		// The shape alone, whatever the program.
		{"unknown eval_{path}", shape},
		{"unknown {path}_", shape},
		{"unknown '{path}'", shape},
		{"unknown \"{path}\"", shape},
		{"unknown open({path})", shape},
		{"unknown [{path}]", shape},
		{"unknown {{path}}", shape},
		{"unknown ${path}", shape},
		{"unknown #{path}", shape},
		{"unknown `{path}`", shape},
		{"unknown x;{path}", shape},
		{"unknown {path};x", shape},
		{"unknown {path}|x", shape},
		{"unknown <{path}", shape},
		{"unknown >{path}", shape},
		{"unknown {path}&", shape},
		{"unknown *{path}", shape},
		{"unknown x\n{path}", shape},
		{"unknown x,{path}", shape},
		{"unknown \\{path}", shape},
		{"unknown !{path}", shape},
		{"unknown a=b={path}", shape},
		{"scp x host:{path}", shape},
		{"ssh host cat_{path}", shape},
		{"awk /{path}/_{print} file", shape},
		{"python -c open('{path}')", shape},
		{"perl -e print_'{root}'", shape},

		{"{path} x", "would run the file"},
		{"{paths}", "would run the file"},
		{"{root}/x", "has {root}, which is filled in for arguments alone"},
		{"echo x{paths}", "has more than {paths}"},
	}
	for _, tt := range tests {
		argv := []string(nil)
		if strings.Contains(tt.command, "\n") {
			argv = strings.SplitN(tt.command, " ", 2)
		} else {
			argv = words(tt.command)
		}
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

// Each name arrives unchanged.
func TestPartsOfArguments(t *testing.T) {
	jobs := newTestRunner(t)
	r := jobs.run(Command{Argv: []string{"printf", `%s\n`, "--out={path}.gz", "@{path}", "file://{path}", "{root}/a/{root}", "{root}:/x:ro"}}, "$(x) ;.y")
	p := jobs.dir + "/$(x) ;.y"
	want := strings.Join([]string{"--out=" + p + ".gz", "@" + p, "file://" + p, jobs.dir + "/a/" + jobs.dir, jobs.dir + ":/x:ro", ""}, "\n")
	if string(r.Output) != want {
		t.Errorf("got %q, want %q", r.Output, want)
	}
}
