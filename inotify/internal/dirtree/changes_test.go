package dirtree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLoad checks after random operations that the changes that were written make the same tree,
// whether they were written bit by bit or at once.
func TestLoad(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, *seedFlag))
		tree, model := New(), &treeModel{map[ID]ID{}, map[ID]string{}, map[ID]int32{}}
		tree.Track()
		var changes [][]byte
		for step := range 2000 {
			randomOperation(rnd, tree, model)
			if step%3 == 0 {
				changes = append(changes, tree.AppendChanges(nil))
			}
			if step%100 != 0 {
				continue
			}
			for n := range tree.All() { // half of those that could be roots are
				if tree.Parent(n) != 0 {
					tree.SetFlags(n, 0, Root)
				} else if rnd.IntN(2) == 0 {
					tree.SetFlags(n, Root, 0)
				}
			}

			changes = append(changes, tree.AppendChanges(nil))
			if again := tree.AppendChanges(nil); len(again) > 0 {
				t.Fatalf("seed %d, step %d: %d bytes of changes of a tree that has not changed", seed, step, len(again))
			}
			want := describe(tree)
			if step%500 == 0 {
				changes = [][]byte{tree.AppendAll(nil)}
			}
			loaded, err := Load(changes, 1)
			if err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
			if got := describe(loaded); !maps.Equal(got, want) {
				t.Fatalf("seed %d, step %d: loaded %d directories, want %d, not the same", seed, step, len(got), len(want))
			}
			if step%200 == 0 { // go on with the loaded one, which must be as good
				tree = loaded
				for n := range model.parent {
					if _, ok := want[n]; !ok {
						delete(model.parent, n)
						delete(model.name, n)
						delete(model.wd, n)
					}
				}
				for n := range tree.All() {
					tree.SetFlags(n, 0, Root)
				}
				compareTree(t, tree, model)
			}
		}
	}
}

// describe returns what a tree has of each directory below a root, if all above it are watched.
func describe(t *Tree) map[ID]string {
	dirs := map[ID]string{}
	for n := range t.All() {
		x, isWatched := t.Node(n), true
		path := ""
		for at := n; at != 0; at = t.Parent(at) {
			isWatched = isWatched && t.Node(at).WD != 0
			path = fmt.Sprintf("%d:%s/", at, t.Name(at)) + path
		}
		if isWatched && t.Reachable(n) {
			dirs[n] = fmt.Sprint(path, " ", x.WD, " ", x.Ino, " ", x.Device)
		}
	}
	return dirs
}

// FuzzLoad checks that no changes are a crash or make a tree that contradicts itself.
func FuzzLoad(f *testing.F) {
	tree := New()
	root := tree.Add(1, 0, 10)
	tree.SetFlags(root, Root, 0)
	child := tree.Add(2, 0, 11)
	tree.Attach(child, root, []byte("child"))
	f.Add(tree.AppendAll(nil))
	f.Add([]byte{1, 2, 5, 0, 9, 2, 1, 'a', 2, 2, 6, 0, 9, 1, 1, 'b'}) // each is the parent of the other
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			n, _, after, ok := cutChange(rest)
			if n > 1<<12 {
				return // it takes memory
			}
			if rest = after; !ok {
				break
			}
		}
		tree, err := Load([][]byte{b}, 1)
		if err != nil {
			return
		}
		for n := range tree.All() {
			switch {
			case !tree.Reachable(n):
				t.Errorf("%d is not below a root", n)
			case tree.ByWatch(tree.Node(n).WD) != n:
				t.Errorf("%d has the watch %d, which is that of %d", n, tree.Node(n).WD, tree.ByWatch(tree.Node(n).WD))
			case tree.Parent(n) != 0 && tree.Lookup(tree.Parent(n), slices.Clone(tree.Name(n))) != n:
				t.Errorf("%d is not found under its name %q", n, tree.Name(n))
			}
		}
	})
}

// BenchmarkLoad is what a restart pays for 100,000 directories.
func BenchmarkLoad(b *testing.B) {
	tree := New()
	dirs := []ID{tree.Add(1, 0, 1)}
	tree.SetFlags(dirs[0], Root, 0)
	for i := range 100_000 {
		n := tree.Add(int32(i+2), 0, uint64(1_000_000+i))
		tree.Attach(n, dirs[i/10], fmt.Appendf(nil, "directory-%d", i))
		dirs = append(dirs, n)
	}
	changes := [][]byte{tree.AppendAll(nil)}
	b.SetBytes(int64(len(changes[0])))
	for b.Loop() {
		if _, err := Load(changes, 1); err != nil {
			b.Fatal(err)
		}
	}
}
