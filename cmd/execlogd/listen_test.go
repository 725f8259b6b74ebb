package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

// A path may be a single file, which is heard of however it is saved, whatever the
// patterns are for, and by its own name where a directory around it is listened to
// as well.
func TestRunListensToSingleFiles(t *testing.T) {
	dir := t.TempDir()
	r := &runTest{t: t, dir: dir}
	r.save("app.conf")
	testenv.Check(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	r.save("real/linked")
	testenv.Check(t, os.Symlink("real/linked", filepath.Join(dir, "link")))
	r = runIn(t, dir, "-path", dir+"/app.conf", "-path", dir+"/link", "-match", "*.go", "-per", "file", "--", "echo", "{path}")
	r.next("execlogd: watching 2 files")
	r.save("other")
	r.save("x.go")
	for _, save := range []func(){
		func() { r.save("app.conf") },
		func() {
			r.save("app.conf~")
			testenv.Check(t, os.Rename(dir+"/app.conf~", dir+"/app.conf"))
		},
		func() {
			testenv.Check(t, os.Remove(dir+"/app.conf"))
			r.save("app.conf")
		},
	} {
		save()
		r.next("DIR/app.conf")
		r.next("execlogd: echo: ok after *: DIR/app.conf")
	}
	r.save("real/linked")
	r.next("DIR/link")
	r.next("execlogd: echo: ok after *: DIR/link")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// A file that lies in a directory which is listened to as well is one file.
func TestRunTakesFileInDirectoryForOne(t *testing.T) {
	dir := t.TempDir()
	r := &runTest{t: t, dir: dir}
	r.save("app.conf")
	r = runIn(t, dir, "-path", dir, "-path", dir+"/app.conf", "-per", "file", "--", "echo", "{path}")
	r.next("execlogd: watching 1 directory and 1 file")
	for range 3 {
		r.save("app.conf")
		r.next("DIR/app.conf")
		r.next("execlogd: echo: ok after *: DIR/app.conf")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// With -wait a path need not be there; that it is missing, there and gone is said.
func TestRunWaitsForItsPath(t *testing.T) {
	dir := t.TempDir()
	r := runIn(t, dir, "-wait", "-path", dir+"/a/b", "-postpone", "--", "echo", "ran")
	r.next("execlogd: watching 0 directories")
	r.next("execlogd: DIR/a/b is not there yet; waiting for it")
	for _, is := range []string{"is there", "is there again"} {
		testenv.Check(t, os.MkdirAll(dir+"/a/b", 0o755))
		r.next("execlogd: DIR/a/b " + is)
		r.next("ran")
		r.next("execlogd: echo: ok after *")
		r.save("a/b/file")
		r.next("ran")
		r.next("execlogd: echo: ok after *")
		testenv.Check(t, os.RemoveAll(dir+"/a"))
		r.next("execlogd: DIR/a/b is gone; waiting for it to come back")
		r.next("ran") // the file is gone
		r.next("execlogd: echo: ok after *")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// What is missing is an error that says how to wait for it.
func TestMissingPathSaysHowToWait(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "x.toml")
	testenv.Check(t, os.WriteFile(config, []byte("[[route]]\nname = \"a\"\nroot = \"missing\"\nrun = [\"true\"]\n"), 0o644))
	for args, want := range map[string]string{
		"run -path " + dir + "/missing true": `path "` + dir + `/missing" does not exist: create it, or name another with -path, or add -wait`,
		"watch " + dir + "/missing":          `path "` + dir + `/missing" does not exist: create it, or name another, or add -wait`,
		"-config " + config:                  config + `:3:8: root "` + dir + `/missing" does not exist: create it, or name another, or add wait = true`,
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

// watch prints what happens to a single file.
func TestWatchSingleFile(t *testing.T) {
	dir := t.TempDir()
	r := &runTest{t: t, dir: dir}
	r.save("app.conf")
	out := watching(t, "-events", "modify", dir+"/app.conf")
	r.save("other")
	file, err := os.OpenFile(dir+"/app.conf", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("more"); err != nil { // one event
		t.Fatal(err)
	}
	if !out.Scan() {
		t.Fatal("no output")
	}
	if got, want := strings.Join(strings.Fields(out.Text()), " "), "modify "+dir+"/app.conf"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
