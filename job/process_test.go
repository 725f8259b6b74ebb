package job

import (
	"os"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	rest := " 1 2 3" + strings.Repeat(" 0", 15) + " 999 5\n"
	tests := []struct {
		stat string
		want process
		ok   bool
	}{
		{"7 (sh) S" + rest, process{id: 7, parent: 1, group: 2, start: 999, name: "sh"}, true},
		{"7 (a) R 9 (b)) Z" + rest, process{id: 7, parent: 1, group: 2, start: 999, name: "a) R 9 (b)", zombie: true}, true},
		{"7 ( (\n) S" + rest, process{id: 7, parent: 1, group: 2, start: 999, name: " (\n"}, true},
		{"7 (sh) S 1 2 3", process{}, false},
		{"", process{}, false},
		{"7 (", process{}, false},
		{") (", process{}, false},
	}
	for _, tt := range tests {
		if got, ok := parseStat([]byte(tt.stat)); got != tt.want || ok != tt.ok {
			t.Errorf("%q: got %+v, %v, want %+v, %v", tt.stat, got, ok, tt.want, tt.ok)
		}
	}
}

// A program may call itself anything.
func FuzzStat(f *testing.F) {
	f.Add("sh")
	f.Add(") R 9 (")
	f.Fuzz(func(t *testing.T, name string) {
		stat := "7 (" + name + ") S 1 2 3" + strings.Repeat(" 0", 15) + " 999 5\n"
		want := process{id: 7, parent: 1, group: 2, start: 999, name: name}
		if got, ok := parseStat([]byte(stat)); !ok || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", stat, got, ok, want)
		}
	})
}

func TestLook(t *testing.T) {
	p, ok := look(os.Getpid())
	if !ok || p.id != os.Getpid() || p.parent != os.Getppid() || p.zombie || p.start == 0 {
		t.Errorf("got %+v, %v for %d, child of %d", p, ok, os.Getpid(), os.Getppid())
	}
}
