package inotify

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// A operationKind of operation on two paths in the tree and one outside. It may fail.
type operationKind struct {
	script string // in messages, and for fixture.do where possible
	do     func(p, q, out string) error
}

// operationKinds are what writers do. What is here twice is done twice as often.
var operationKinds = []operationKind{
	{"mkdir p", func(p, _, _ string) error { return os.Mkdir(p, 0o755) }},
	{"mkdir p", func(p, _, _ string) error { return os.Mkdir(p, 0o755) }},
	{"mkdir p; write p/f", func(p, _, _ string) error {
		return errors.Join(os.MkdirAll(p, 0o755), os.WriteFile(p+"/f", []byte("at once"), 0o644))
	}},
	{"rm p", func(p, _, _ string) error { return os.RemoveAll(p) }},
	{"rmdir p", func(p, _, _ string) error { return unix.Rmdir(p) }},
	{"unlink p", func(p, _, _ string) error { return unix.Unlink(p) }},
	{"unlink p; mkdir p; rmdir p; write p", again},
	{"write p", func(p, q, _ string) error { return os.WriteFile(p, []byte(q), 0o644) }},
	{"write p", func(p, q, _ string) error { return os.WriteFile(p, []byte(q), 0o644) }},
	{"append p", appendTo},
	{"truncate p", func(p, _, _ string) error { return os.Truncate(p, 1) }},
	{"chmod p", func(p, _, _ string) error { return os.Chmod(p, 0o750) }},
	{"touch p", func(p, _, _ string) error { return unix.Utimes(p, nil) }},
	{"symlink q p", func(p, q, _ string) error { return os.Symlink(q, p) }},
	{linkScript, func(p, q, _ string) error { return os.Link(p, q) }},
	{"write p.tmp; mv p.tmp p", saveByRename},
	{"mv p p~; write p; rm p~", saveWithBackup},
	{"write p~; write p; rm p~", saveInPlace},
	{"write p.new; link p p.old; mv p.new p; rm p.old", saveWithLink},
	{"tmpfile p", writeUnnamed},
	{"mv p q", rename},
	{"mv p q", rename},
	{"mv p q", rename},
	{"mv -n p q", func(p, q, _ string) error {
		return unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_NOREPLACE)
	}},
	{"mv p p.t; mv q p; mv p.t q", func(p, q, _ string) error {
		return errors.Join(unix.Rename(p, p+".t"), unix.Rename(q, p), unix.Rename(p+".t", q))
	}},
	{"exchange p q", exchange},
	{"exchange p q", exchange},
	{"mv p out", func(p, _, out string) error { return unix.Rename(p, out) }},
	{"mv out p", func(p, _, out string) error { return unix.Rename(out, p) }},
	{"exchange p out", func(p, _, out string) error { return exchange(p, out, "") }},
	{"mkdir out/x/a; write out/x/a/f; mv out/x p", func(p, _, out string) error {
		return errors.Join(os.MkdirAll(out+"/x/a", 0o755), os.WriteFile(out+"/x/a/f", nil, 0o644), unix.Rename(out+"/x", p))
	}},
}

// linkScript is left out by a writer with noLinks.
const linkScript = "link p q"

func rename(p, q, _ string) error { return unix.Rename(p, q) }

func exchange(p, q, _ string) error {
	return unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_EXCHANGE)
}

func again(p, q, _ string) error {
	return errors.Join(unix.Unlink(p), os.Mkdir(p, 0o755), unix.Rmdir(p), os.WriteFile(p, []byte(q), 0o644))
}

func appendTo(p, q, _ string) error {
	f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(q)
	return errors.Join(err, f.Close())
}

func saveByRename(p, q, _ string) error {
	return errors.Join(os.WriteFile(p+".tmp", []byte(q), 0o644), unix.Rename(p+".tmp", p))
}

func saveWithBackup(p, q, _ string) error {
	return errors.Join(unix.Rename(p, p+"~"), os.WriteFile(p, []byte(q), 0o644), unix.Unlink(p+"~"))
}

func saveInPlace(p, q, _ string) error {
	return errors.Join(os.WriteFile(p+"~", []byte(q), 0o644), os.WriteFile(p, []byte(q), 0o644), unix.Unlink(p+"~"))
}

func saveWithLink(p, q, _ string) error {
	return errors.Join(os.WriteFile(p+".new", []byte(q), 0o644), os.Link(p, p+".old"), unix.Rename(p+".new", p), unix.Unlink(p+".old"))
}

// writeUnnamed makes a file that gets its name when it is complete.
func writeUnnamed(p, q, _ string) error {
	fd, err := unix.Open(filepath.Dir(p), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(q))
	return errors.Join(err, unix.Linkat(unix.AT_FDCWD, dirfd.Path(fd, ""), unix.AT_FDCWD, p, unix.AT_SYMLINK_FOLLOW))
}

// An operation is of a kind, with its paths.
type operation struct {
	operationKind
	p, q, out string // relative
}

// String returns the operation in the notation of fixture.do.
func (o operation) String() string {
	var s strings.Builder
	for i, step := range strings.Split(o.script, "; ") {
		if i > 0 {
			s.WriteByte('\n')
		}
		for j, word := range strings.Split(step, " ") {
			if j > 0 {
				s.WriteByte(' ')
			}
			s.WriteString(o.word(word))
		}
	}
	return s.String()
}

// word replaces the name of a path: p, q or out, with what follows it.
func (o operation) word(word string) string {
	for _, path := range []struct{ name, value string }{{"p", o.p}, {"q", o.q}, {"out", "out:" + o.out}} {
		if rest, ok := strings.CutPrefix(word, path.name); ok && strings.Trim(rest[:min(1, len(rest))], "./~") == "" {
			return Quote(path.value + rest)
		}
	}
	return word
}

// A writer does random operations. There are few names, so that they collide.
type writer struct {
	rand      *rand.Rand
	root, out string
	noLinks   bool          // makes no hard links
	pace      chan struct{} // sent to once in a while; may be nil
	plan      []operation   // what to do; random when it is empty
	ops       int           // how many; 0 is -ops
	done      []operation
}

func (w *writer) next() operation {
	if len(w.plan) > 0 {
		op := w.plan[0]
		w.plan = w.plan[1:]
		return op
	}
	op := operation{operationKinds[w.rand.IntN(len(operationKinds))], w.path(), w.path(), string("12345678"[w.rand.IntN(8)])}
	for w.noLinks && op.script == linkScript {
		op.operationKind = operationKinds[w.rand.IntN(len(operationKinds))]
	}
	return op
}

func (w *writer) path() string {
	var p []string
	for range 1 + w.rand.IntN(4) {
		p = append(p, []string{"a", "b", "c", "d", "e", "\xff\n"}[w.rand.IntN(6)])
	}
	return strings.Join(p, "/")
}

func (w *writer) work(ops int) {
	for i := range ops {
		w.step()
		if i%16 == 0 {
			select {
			case w.pace <- struct{}{}:
			default:
			}
		}
	}
}

func (w *writer) step() {
	op := w.next()
	w.done = append(w.done, op)
	op.do(w.root+"/"+op.p, w.root+"/"+op.q, w.out+"/"+op.out)
}

// script returns the operations that were done.
func (w *writer) script() string {
	var s strings.Builder
	for _, op := range w.done {
		fmt.Fprintln(&s, op)
	}
	return s.String()
}

// shrink returns a part of ops for which fails is still true, and is not without any single
// operation, as far as tries allow.
func shrink(ops []operation, tries int, fails func([]operation) bool) []operation {
	for size := max(1, len(ops)/2); ; {
		smaller := false
		for at := 0; at < len(ops) && tries > 0; {
			rest := append(append([]operation{}, ops[:at]...), ops[min(at+size, len(ops)):]...)
			if tries--; fails(rest) {
				ops, smaller = rest, true
			} else {
				at += size
			}
		}
		if tries == 0 || size == 1 && !smaller {
			return ops
		}
		size = max(1, size/2)
	}
}
