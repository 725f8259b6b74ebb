package inotify

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// operationKinds are what writers do: scripts for fixture.do, with two paths in the tree, p and q,
// and one outside. They may fail. What is here twice is done twice as often.
var operationKinds = []string{
	"mkdir p", "mkdir p", "mkdir p; write p/f", "rm p", "rmdir p", "unlink p",
	"unlink p; mkdir p; rmdir p; write p q",
	"write p q", "write p q", "append p", "truncate p", "chmod p", "touch p", "tmpfile p",
	"symlink q p", linkScript,
	"write p.tmp q; mv p.tmp p", "mv p p~; write p q; rm p~", "write p~ q; write p q; rm p~", // saves
	"write p.new q; link p p.old; mv p.new p; rm p.old",
	"mv p q", "mv p q", "mv p q", "mv -n p q", "mv p p.t; mv q p; mv p.t q",
	"exchange p q", "exchange p q",
	"mv p out", "mv out p", "exchange p out",
	"mkdir out/x/a; write out/x/a/f; mv out/x p",
}

// linkScript is left out by a writer with noLinks.
const linkScript = "link p q"

// An operation is of a kind, with its paths.
type operation struct {
	script    string
	p, q, out string // relative
}

// commands returns the words of each command.
func (o operation) commands() (all [][]string) {
	for step := range strings.SplitSeq(o.script, "; ") {
		words := strings.Split(step, " ")
		for i := range words {
			words[i] = o.word(words[i])
		}
		all = append(all, words)
	}
	return all
}

// String returns the operation in the notation of fixture.do.
func (o operation) String() string {
	var lines []string
	for _, words := range o.commands() {
		for i := range words {
			words[i] = Quote(words[i])
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n")
}

// word replaces the name of a path: p, q or out, with what follows it.
func (o operation) word(word string) string {
	for _, path := range []struct{ name, value string }{{"p", o.p}, {"q", o.q}, {"out", "out:" + o.out}} {
		if rest, ok := strings.CutPrefix(word, path.name); ok && strings.Trim(rest[:min(1, len(rest))], "./~") == "" {
			return path.value + rest
		}
	}
	return word
}

// A writer does random operations. There are few names, so that they collide.
type writer struct {
	rand    *rand.Rand
	dirs    *fixture      // where it works
	noLinks bool          // makes no hard links
	pace    chan struct{} // sent to once in a while; may be nil
	plan    []operation   // what to do; random when it is empty
	ops     int           // how many; 0 is -ops
	done    []operation
}

func (w *writer) next() operation {
	if len(w.plan) > 0 {
		op := w.plan[0]
		w.plan = w.plan[1:]
		return op
	}
	op := operation{operationKinds[w.rand.IntN(len(operationKinds))], w.path(), w.path(), string("12345678"[w.rand.IntN(8)])}
	for w.noLinks && op.script == linkScript {
		op.script = operationKinds[w.rand.IntN(len(operationKinds))]
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
	for _, words := range op.commands() {
		w.dirs.command(words[0], words[1:])
	}
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
