// Testlog reads what go test -json writes and shows what a person wants to
// know: the result of each package in go test's own words, everything that a
// failed test wrote, and for each skipped test the reason.
//
//	go test -json ./... | testlog
//
// It says nothing about success: the exit status of go test does.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// An event is one line of the stream; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // in place of Package while building
	Test       string
	Output     string
}

func main() {
	if err := show(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
		os.Exit(1)
	}
}

func show(r io.Reader, w io.Writer) error {
	out := bufio.NewWriter(w)
	said := map[string]string{} // by package and test, until its result is known
	dec := json.NewDecoder(r)
	for {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			return out.Flush()
		} else if err != nil {
			return fmt.Errorf("read what go test -json writes: %w", err)
		}
		if err := out.Flush(); err != nil {
			return err
		}
		tell(out, e, said)
	}
}

// tell writes what e decides and keeps in said what it does not.
func tell(out *bufio.Writer, e event, said map[string]string) {
	test := e.Package + " " + e.Test
	switch {
	case e.Action == "build-output":
		out.WriteString(e.Output)
	case e.Action == "output" && e.Test == "":
		if e.Output != "PASS\n" {
			out.WriteString(e.Output)
		}
	case e.Action == "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			said[test] += e.Output
		}
	case e.Action == "fail" && e.Test == "":
		unfinished(out, e.Package, said)
	case e.Action == "fail", e.Action == "skip" && e.Test != "":
		out.WriteString(said[test])
		delete(said, test)
	case e.Action == "pass":
		delete(said, test)
	}
}

// unfinished writes what tests said that a panic or the timeout cut off.
func unfinished(out *bufio.Writer, pkg string, said map[string]string) {
	for _, test := range slices.Sorted(maps.Keys(said)) {
		if strings.HasPrefix(test, pkg+" ") {
			out.WriteString(said[test])
			delete(said, test)
		}
	}
}
