package inotify

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A tree is written as its paths in order: d/ is a directory, f:1 a file at
// its first version.
func TestDifferences(t *testing.T) {
	tests := []struct{ name, before, now, want string }{
		{"nothing changes", "a/ a/f:1 g:1", "a/ a/f:1 g:1", ""},
		{"a file is written", "f:1 g:1", "f:2 g:1", "modify|close_write|create f"},
		{"a file appears between others", "a:1 c:1", "a:1 b:1 c:1", "modify|close_write|create b"},
		{"the first file goes", "a:1 b:1", "b:1", "delete a"},
		{"the last file goes", "a:1 b:1", "a:1", "delete b"},
		{"all go", "a:1 b/ b/f:1", "", "delete a, delete|isdir b"},
		{
			"a directory appears with all in it", "", "a/ a/b/ a/b/f:1",
			"create|isdir a, create|isdir a/b, modify|close_write|create a/b/f",
		},
		{"a change deep down is no other's", "a/ a/b/ a/b/f:1 c/", "a/ a/b/ a/b/f:2 c/", "modify|close_write|create a/b/f"},
		{"a rename is a file less and one more", "a/ a/f:1 b/", "a/ b/ b/f:1", "delete a/f, modify|close_write|create b/f"},
		{
			"a directory takes a file's name", "x:1", "x/ x/f:1",
			"delete x, create|isdir x, modify|close_write|create x/f",
		},
		{"a file takes a directory's name", "x/ x/f:1", "x:1", "delete|isdir x, modify|close_write|create x"},
		{"names that begin alike", "a/ a/f:1 a.b:1", "a/ a/f:1 a.b:2", "modify|close_write|create a.b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			comparePolls(sighted(tt.before), sighted(tt.now), "", func(path string, mask Mask) {
				got = append(got, mask.String()+" "+path)
			})
			if got := strings.Join(got, ", "); got != tt.want {
				t.Errorf("from %q to %q\n got %s\nwant %s", tt.before, tt.now, got, tt.want)
			}
		})
	}
}

// sighted is the sightings of a tree.
func sighted(tree string) pollSnapshot {
	seen := pollSnapshot{"": nil}
	for word := range strings.FieldsSeq(tree) {
		name, version, file := strings.Cut(word, ":")
		s := pollEntry{kind: unix.DT_DIR}
		if file {
			s.kind = unix.DT_REG
			s.ctime, _ = strconv.ParseInt(version, 10, 64)
		} else {
			name = strings.TrimSuffix(name, "/")
			seen[name] = nil
		}
		at, base := path.Split(name)
		at = strings.TrimSuffix(at, "/")
		s.name = base
		seen[at] = append(seen[at], s)
		slices.SortFunc(seen[at], func(a, b pollEntry) int { return strings.Compare(a.name, b.name) })
	}
	return seen
}

// FuzzDifferences: who applies what is told to the paths before has the paths
// now.
func FuzzDifferences(f *testing.F) {
	f.Add([]byte("abc"), []byte("acd"))
	f.Add([]byte{1, 70, 140, 255}, []byte{2, 70, 139})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		before, now := grown(a), grown(b)
		paths := before.paths()
		comparePolls(before, now, "", func(path string, mask Mask) {
			if mask&Delete != 0 {
				for p := range paths {
					if p == path || strings.HasPrefix(p, path+"/") {
						delete(paths, p)
					}
				}
				return
			}
			paths[path] = mask&IsDir != 0
		})
		want := now.paths()
		for p, dir := range want {
			if is, ok := paths[p]; !ok || is != dir {
				t.Errorf("%s is missing or another kind", p)
			}
			delete(paths, p)
		}
		for p := range paths {
			t.Errorf("%s is not gone", p)
		}
	})
}

// grown makes a tree of bytes: each adds a name to one of the directories.
func grown(seed []byte) pollSnapshot {
	dirs := []string{""}
	var words []string
	seen := map[string]bool{}
	for _, c := range seed {
		p := below(dirs[int(c>>3)%len(dirs)], string('a'+rune(c%4)))
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
	return sighted(strings.Join(words, " "))
}

// paths are all paths with whether they are directories.
func (s pollSnapshot) paths() map[string]bool {
	all := map[string]bool{}
	for at, names := range s {
		for _, n := range names {
			all[below(at, n.name)] = n.dir()
		}
	}
	return all
}
