package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manyRoutes is a configuration with n routes, each of which comes after another, except
// the first.
func manyRoutes(n int, after func(i int) int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[[route]]\nname = 'route%d'\nmatch = ['*.md', 'docs/**']\nignore = '*.bak'\nrun = ['sh', '-c', 'true']\nenv = { A = '1' }\n", i)
		if i > 0 && after != nil {
			fmt.Fprintf(&b, "after = ['route%d']\n", after(i))
		}
	}
	return b.String()
}

// The time for one route does not depend on how many there are.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{100, 1000, 4000} {
		b.Run(fmt.Sprint(n, "routes"), func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "x.toml")
			if err := os.WriteFile(file, []byte(manyRoutes(n, func(i int) int { return i / 2 })), 0o600); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := run(b.Context(), []string{"check", "-config", file}, io.Discard, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/route")
		})
	}
}

// A file is read and checked in a time that is proportional to its length, whatever is
// in it. That is so for what this program does. go-toml compares each key with those
// before it, which takes no time that anybody notices for the thousand keys of the
// cases here, but half a second for 25,000.
func TestConfigurationTakesLinearTime(t *testing.T) {
	list := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for what, text := range map[string]func(n int) string{
		"routes":           func(n int) string { return manyRoutes(n, nil) },
		"routes in a tree": func(n int) string { return manyRoutes(n, func(i int) int { return i / 2 }) },
		"routes in a row":  func(n int) string { return manyRoutes(n, func(i int) int { return i - 1 }) },
		"pages after all":  func(n int) string { return manyRoutes(n, nil) + "[server]\nafter = [" + list(n, "'route%d',") + "]\n" },
		"reloads": func(n int) string {
			return strings.ReplaceAll(manyRoutes(n, nil), "match", "reload = true\nmatch") + "[server]"
		},
		"a circle":         func(n int) string { return manyRoutes(n, func(i int) int { return i%(n-1) + 1 }) },
		"unknown names":    func(n int) string { return manyRoutes(n, func(i int) int { return n + i }) },
		"inline tables":    func(n int) string { return "route = [" + list(n, "{name = 'r%d', run = ['true']},\n") + "]" },
		"tables of tables": func(n int) string { return list(n, "[[route]]\nname = 'r%d'\nrun = ['true']\n[route.env]\nA = '1'\n") },
		"unknown keys":     func(n int) string { return list(n, "unknown%d = 1\n") },
		"unknown tables":   func(n int) string { return list(n, "[x%d]\n") },
		"dotted tables":    func(n int) string { return list(n, "a%[1]d.k = 1\nb.k%[1]d = 2\nc.k%[1]d.k = 3\n") },
		"nested tables":    func(n int) string { return "a = " + strings.Repeat("{a=", n*4) + "1" + strings.Repeat("}", n*4) },
		"nested arrays":    func(n int) string { return "a = " + strings.Repeat("[", n*4) + strings.Repeat("]", n*4) },
		"dotted key":       func(n int) string { return strings.Repeat("a.", 8*n) + "a = 1\n" },
		"long headers":     func(n int) string { return list(n, "["+strings.Repeat("a.", 8)+"a%d]\n") },
		"words":            func(n int) string { return "[[route]]\nname = 'x'\nrun = ['true', " + list(8*n, "'%d',") + "]\n" },
		"patterns": func(n int) string {
			return "[[route]]\nname = 'x'\nrun = ['true']\nmatch = [" + list(4*n, "'*.%d',") + "]\n"
		},
		"numbers": func(n int) string { return "[server]\nroot = [" + list(8*n, "%d,") + "]\n" },
		"variables": func(n int) string {
			return "[[route]]\nname = 'x'\nrun = ['true']\n[route.env]\n" + list(n, "V%d = ''\n")
		},
		"a long name": func(n int) string { return "[server]\n" + strings.Repeat("po", 100*n) + " = 1\n" },
		"lines":       func(n int) string { return strings.Repeat("\n", 100*n) + "port = 1\n" },
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.toml")
			took := func(n int) time.Duration {
				if err := os.WriteFile(file, []byte(text(n)), 0o600); err != nil {
					t.Fatal(err)
				}
				return cpuTime(t, func() {
					_ = run(t.Context(), []string{"check", "-config", file}, io.Discard, io.Discard)
					_ = run(t.Context(), []string{"why", "-config", file, file}, io.Discard, io.Discard)
				})
			}
			const small, times = 50, 8
			for try := 1; ; try++ { // others take the processor's caches
				one, more := took(small), took(small*times)
				if more <= 3*times*one || more <= 100*time.Millisecond {
					break
				}
				if try < 5 {
					continue
				}
				t.Fatalf("what is %d times as long takes %d times as long: %v and %v", times, more/max(one, 1), one, more)
			}
		})
	}
}

// cpuTime returns the processor time that do takes in its thread, which does not depend
// on what else the machine does.
func cpuTime(t *testing.T, do func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		const thread = 1 // RUSAGE_THREAD of getrusage(2)
		var u syscall.Rusage
		if err := syscall.Getrusage(thread, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	do()
	return used() - before
}
