package poll

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A snapshot is written as its paths in order: d/ is a directory, d/! one that is skipped, f:1 a
// file in its first version. In a change + is new or changed, and - removed.
func TestCompare(t *testing.T) {
	tests := []struct{ name, before, now, want string }{
		{"nothing changes", "a/ a/f:1 g:1", "a/ a/f:1 g:1", ""},
		{"a file is written", "f:1 g:1", "f:2 g:1", "+f"},
		{"a file appears between others", "a:1 c:1", "a:1 b:1 c:1", "+b"},
		{"the first file is removed", "a:1 b:1", "b:1", "-a"},
		{"the last file is removed", "a:1 b:1", "a:1", "-b"},
		{"everything is removed", "a:1 b/ b/f:1", "", "-a -b/"},
		{"a directory appears with content", "", "a/ a/b/ a/b/f:1", "+a/ +a/b/ +a/b/f"},
		{"a change deep down is none above", "a/ a/b/ a/b/f:1 c/", "a/ a/b/ a/b/f:2 c/", "+a/b/f"},
		{"a rename is one file removed and one new", "a/ a/f:1 b/", "a/ b/ b/f:1", "-a/f +b/f"},
		{"a directory takes the name of a file", "x:1", "x/ x/f:1", "-x +x/ +x/f"},
		{"a file takes the name of a directory", "x/ x/f:1", "x:1", "-x/ +x"},
		{"a directory is skipped from now on", "a/ a/b/ a/f:1 g:1", "a/! g:2", "+g"},
		{"a directory is skipped no longer", "a/! g:1", "a/ a/b/ a/f:1 g:2", "+g"},
		{"a new directory is skipped", "", "a/!", "+a/"},
		{"a skipped directory is removed", "a/!", "", "-a/"},
		{"names that begin alike", "a/ a/f:1 a.b:1", "a/ a/f:1 a.b:2", "+a.b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			Compare(snapshot(tt.before), snapshot(tt.now), func(c Change) {
				text := "+" + c.Path
				if c.Removed {
					text = "-" + c.Path
				}
				if c.Dir {
					text += "/"
				}
				got = append(got, text)
			})
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("from %q to %q\n got %s\nwant %s", tt.before, tt.now, got, tt.want)
			}
		})
	}
}

// snapshot parses a snapshot.
func snapshot(text string) Snapshot {
	s := Snapshot{"": nil}
	for word := range strings.FieldsSeq(text) {
		name, skipped := strings.CutSuffix(word, "!")
		name, version, isFile := strings.Cut(name, ":")
		e := Entry{Kind: unix.DT_DIR}
		if isFile {
			e.Kind = unix.DT_REG
			e.Ctime, _ = strconv.ParseInt(version, 10, 64)
		} else {
			name = strings.TrimSuffix(name, "/")
			if !skipped {
				s[name] = nil
			}
		}
		dir, base := path.Split(name)
		dir = strings.TrimSuffix(dir, "/")
		e.Name = base
		s[dir] = append(s[dir], e)
		slices.SortFunc(s[dir], func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	}
	return s
}

// FuzzCompare applies the changes to the paths of the first snapshot, which must give the paths
// of the second.
func FuzzCompare(f *testing.F) {
	f.Add([]byte("abc"), []byte("acd"))
	f.Add([]byte{1, 70, 140, 255}, []byte{2, 70, 139})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		before, now := randomSnapshot(a), randomSnapshot(b)
		paths := before.paths()
		Compare(before, now, func(c Change) {
			if !c.Removed {
				paths[c.Path] = c.Dir
				return
			}
			for p := range paths {
				if p == c.Path || strings.HasPrefix(p, c.Path+"/") {
					delete(paths, p)
				}
			}
		})
		want := now.paths()
		for p, dir := range want {
			if got, ok := paths[p]; !ok || got != dir {
				t.Errorf("%s is missing or of another kind", p)
			}
			delete(paths, p)
		}
		for p := range paths {
			t.Errorf("%s is not removed", p)
		}
	})
}

// randomSnapshot adds, for each byte, a name to one of the directories.
func randomSnapshot(seed []byte) Snapshot {
	dirs := []string{""}
	var words []string
	seen := map[string]bool{}
	for _, c := range seed {
		p := Join(dirs[int(c>>3)%len(dirs)], string('a'+rune(c%4)))
		if seen[p] {
			continue
		}
		seen[p] = true
		if c&4 != 0 {
			dirs = append(dirs, p)
			words = append(words, p+"/")
		} else {
			words = append(words, p+":"+strconv.Itoa(int(c)))
		}
	}
	return snapshot(strings.Join(words, " "))
}

// paths returns all paths, and whether each is a directory.
func (s Snapshot) paths() map[string]bool {
	all := map[string]bool{}
	for dir, entries := range s {
		for _, e := range entries {
			all[Join(dir, e.Name)] = e.IsDir()
		}
	}
	return all
}
