package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

// ignoringTree makes a directory with what git ignores in it.
func ignoringTree(t *testing.T) (dir string, r *runTest) {
	t.Helper()
	dir = t.TempDir()
	for _, sub := range []string{"out", "src"} {
		testenv.Check(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	testenv.Check(t, os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("# made\n/out/\n"), 0o644))
	return dir, &runTest{t: t, dir: dir}
}

// run does not listen to what git ignores, unless it is told to.
func TestRunHeedsIgnoreFiles(t *testing.T) {
	dir, files := ignoringTree(t)
	r := runIn(t, dir, "-path", dir, "-postpone", "--", "sh", "-c", `echo "${EXECLOGD_PATH##*/}"`)
	r.next("execlogd: watching 2 directories")
	files.save("out/made")
	files.save("src/x")
	r.next("x")
	r.next("execlogd: sh: ok after *")
	if err := r.stop(); err != nil {
		t.Error(err)
	}

	r = runIn(t, dir, "-ignore-files=false", "-path", dir, "-postpone", "--", "sh", "-c", `echo "${EXECLOGD_PATH##*/}"`)
	r.next("execlogd: watching 3 directories")
	files.save("out/made")
	r.next("made")
	r.next("execlogd: sh: ok after *")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// why names the line that ignores a path.
func TestWhyNamesIgnoreFile(t *testing.T) {
	dir, files := ignoringTree(t)
	files.save("out/made")
	for args, want := range map[string]string{
		"-path " + dir:                        "ignored by the pattern /out/ in DIR/.gitignore:2",
		"-ignore-files=false -path " + dir:    "triggered by",
		"-path " + dir + " -ignore " + "made": "ignored by the pattern made\n",
	} {
		if out := output(t, dir, strings.Fields("why run "+args+" "+dir+"/out/made")...); !strings.Contains(out, want) {
			t.Errorf("%s: no %q in\n%s", args, want, out)
		}
	}
}
