package dirtree

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var seedFlag = flag.Uint64("seed", 1, "seed of the random operations")

// A treeModel is what a tree should be, in plain maps.
type treeModel struct {
	parent map[ID]ID // 0 for a node that has none
	name   map[ID]string
	wd     map[ID]int32 // 0 when the watch has ended
}

func (f *treeModel) nodes() []ID { return slices.Sorted(maps.Keys(f.parent)) }

func (f *treeModel) above(a, n ID) bool {
	for ; n != 0; n = f.parent[n] {
		if n == a {
			return true
		}
	}
	return false
}

func (f *treeModel) path(n ID) (path string) {
	for ; f.parent[n] != 0; n = f.parent[n] {
		path = "/" + f.name[n] + path
	}
	return fmt.Sprintf("(%d)%s", n, path)
}

func (f *treeModel) children(n ID) (ids []ID) {
	for c, parent := range f.parent {
		if parent == n {
			ids = append(ids, c)
		}
	}
	return ids
}

// TestTree does random operations on a tree and on plain maps.
func TestTree(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, *seedFlag))
		tree, model := New(), &treeModel{map[ID]ID{}, map[ID]string{}, map[ID]int32{}}
		for step := range 1000 {
			randomOperation(rnd, tree, model)
			if step%50 == 0 {
				compareTree(t, tree, model)
			}
		}
		compareTree(t, tree, model)
		if t.Failed() {
			t.Fatalf("seed %d %d", seed, *seedFlag)
		}
	}
}

func randomOperation(rnd *rand.Rand, tree *Tree, model *treeModel) {
	// Long names make compact have work.
	name := strings.Repeat(string("abcd"[rnd.IntN(4)]), []int{1, 200, 255}[rnd.IntN(3)])
	nodes := model.nodes()
	if len(nodes) < 2 {
		nodes = append(nodes, addNode(rnd, tree, model), addNode(rnd, tree, model))
	}
	n, m := nodes[rnd.IntN(len(nodes))], nodes[rnd.IntN(len(nodes))]
	switch rnd.IntN(8) {
	case 0, 1:
		addNode(rnd, tree, model)
	case 2, 3, 4: // a rename
		if model.above(n, m) || tree.Lookup(m, []byte(name)) != 0 {
			return
		}
		tree.Detach(n)
		tree.Attach(n, m, []byte(name))
		model.parent[n], model.name[n] = m, name
	case 5:
		tree.Detach(n)
		model.parent[n] = 0
	case 6:
		if len(model.children(n)) == 0 && model.wd[n] != 0 {
			tree.EndWatch(n)
			model.wd[n] = 0
		}
	case 7:
		if len(model.children(n)) == 0 {
			tree.Remove(n)
			delete(model.parent, n)
			delete(model.wd, n)
		}
	}
}

// addNode has descriptors far apart, so that the table of them has holes.
func addNode(rnd *rand.Rand, tree *Tree, model *treeModel) ID {
	wd := 1 + rnd.Int32N(1<<16)
	for tree.ByWatch(wd) != 0 {
		wd++
	}
	n := tree.Add(wd, 0, uint64(wd))
	model.parent[n], model.wd[n] = 0, wd
	return n
}

func compareTree(t *testing.T, tree *Tree, model *treeModel) {
	t.Helper()
	living := 0
	for _, n := range model.nodes() {
		if model.wd[n] != 0 {
			living++
			if got := tree.ByWatch(model.wd[n]); got != n {
				t.Errorf("the node of descriptor %d is %d, want %d", model.wd[n], got, n)
			}
		}
		top := tree.Top(n)
		var path strings.Builder
		fmt.Fprintf(&path, "(%d)", top)
		for _, name := range tree.NamesBelow(top, n) {
			fmt.Fprintf(&path, "/%s", name)
		}
		if got, want := path.String(), model.path(n); got != want {
			t.Errorf("node %d is at %.60q, want %.60q", n, got, want)
		}
		if !tree.Encloses(top, n) || tree.Reachable(n) {
			t.Errorf("node %d: its top is not above it, or is no detached one", n)
		}
		if parent := model.parent[n]; parent != 0 {
			if got := tree.Lookup(parent, []byte(model.name[n])); got != n {
				t.Errorf("in %d the name of %d leads to %d", parent, n, got)
			}
		}
		compareSubtree(t, tree, model, n)
	}
	if tree.Watches() != living {
		t.Errorf("the tree counts %d watches, want %d", tree.Watches(), living)
	}
	if got := countUsed(tree.watches); got != living {
		t.Errorf("the table of descriptors holds %d, want %d", got, living)
	}
}

// compareSubtree sees that all below n is listed once, parents first.
func compareSubtree(t *testing.T, tree *Tree, model *treeModel, n ID) {
	t.Helper()
	list := tree.Subtree(n)
	at := map[ID]int{}
	for i, x := range list {
		if _, twice := at[x]; twice {
			t.Errorf("%d is listed twice below %d", x, n)
		}
		at[x] = i
		if above, ok := at[model.parent[x]]; x != n && (!ok || above > i) {
			t.Errorf("below %d, %d comes before its parent", n, x)
		}
	}
	for _, x := range model.nodes() {
		if _, ok := at[x]; ok != model.above(n, x) {
			t.Errorf("below %d: %d is listed: %v", n, x, ok)
		}
	}
}

// countUsed counts the descriptors that a table knows.
func countUsed(table watchTable) (count int) {
	for _, page := range table.pages {
		if page == nil {
			continue
		}
		for _, n := range page.ids {
			if n != 0 {
				count++
			}
		}
	}
	return count
}

func TestNamesThatNobodyHasAreDropped(t *testing.T) {
	tree := New()
	root, n := tree.Add(1, 0, 1), tree.Add(2, 0, 2)
	for i := range 100_000 {
		tree.Detach(n)
		tree.Attach(n, root, fmt.Appendf(nil, "a name of thirty bytes %07d", i))
	}
	if got := len(tree.names); got > 10_000 {
		t.Errorf("two nodes keep %d bytes of names", got)
	}
	if got, want := string(tree.Name(n)), "a name of thirty bytes 0099999"; got != want {
		t.Errorf("the name is %q, want %q", got, want)
	}
}

func TestLiveBelowATopAlone(t *testing.T) {
	tree := New()
	top, a, b := tree.Add(1, 0, 1), tree.Add(2, 0, 2), tree.Add(3, 0, 3)
	tree.SetFlags(top, Root, 0)
	tree.Attach(a, top, []byte("a"))
	tree.Attach(b, a, []byte("b"))
	if !tree.Reachable(b) {
		t.Error("a node below a top is not live")
	}
	tree.Detach(a)
	if tree.Reachable(b) || !tree.Reachable(top) {
		t.Error("a node below a detached one is live, or the top is not")
	}
}

func TestDescriptorTableGivesPagesBack(t *testing.T) {
	var table watchTable
	wds := []int32{1, 1023, 1024, 5000, 3_000_000}
	for _, wd := range wds {
		table.set(wd, ID(wd))
	}
	for _, wd := range wds {
		if got := table.get(wd); got != ID(wd) {
			t.Errorf("descriptor %d is %d", wd, got)
		}
	}
	for _, wd := range []int32{-1, 0, 2, 4999, 3_000_001, 1 << 30} {
		if got := table.get(wd); got != 0 {
			t.Errorf("descriptor %d that was never set is %d", wd, got)
		}
	}
	for _, wd := range wds {
		table.set(wd, 0)
	}
	if i := slices.IndexFunc(table.pages, func(p *watchPage) bool { return p != nil }); i >= 0 {
		t.Errorf("page %d of the empty table is kept", i)
	}
}

func BenchmarkTreeRename(b *testing.B) {
	tree := New()
	root := tree.Add(1, 0, 1)
	n := tree.Add(2, 0, 2)
	for i := range int32(100_000) {
		tree.Attach(tree.Add(i+3, 0, 0), n, fmt.Appendf(nil, "%d", i))
	}
	names := [][]byte{[]byte("old"), []byte("new")}
	tree.Attach(n, root, names[0])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tree.Detach(n)
		tree.Attach(n, root, names[i%2])
	}
}
