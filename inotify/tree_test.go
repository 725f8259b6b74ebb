package inotify

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A forest is what a tree should be, in plain maps.
type forest struct {
	parent map[id]id // 0 for a node that has none
	name   map[id]string
	wd     map[id]int32 // 0 when the watch has ended
}

func (f *forest) nodes() []id { return slices.Sorted(maps.Keys(f.parent)) }

func (f *forest) above(a, n id) bool {
	for ; n != 0; n = f.parent[n] {
		if n == a {
			return true
		}
	}
	return false
}

func (f *forest) path(n id) (path string) {
	for ; f.parent[n] != 0; n = f.parent[n] {
		path = "/" + f.name[n] + path
	}
	return fmt.Sprintf("(%d)%s", n, path)
}

func (f *forest) children(n id) (ids []id) {
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
		tree, model := newTree(), &forest{map[id]id{}, map[id]string{}, map[id]int32{}}
		for step := range 1000 {
			operateTree(rnd, tree, model)
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

func operateTree(rnd *rand.Rand, tree *tree, model *forest) {
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
		if model.above(n, m) || tree.lookup(m, []byte(name)) != 0 {
			return
		}
		tree.detach(n)
		tree.attach(n, m, []byte(name))
		model.parent[n], model.name[n] = m, name
	case 5:
		tree.detach(n)
		model.parent[n] = 0
	case 6:
		if len(model.children(n)) == 0 && model.wd[n] != 0 {
			tree.endWatch(n)
			model.wd[n] = 0
		}
	case 7:
		if len(model.children(n)) == 0 {
			tree.remove(n)
			delete(model.parent, n)
			delete(model.wd, n)
		}
	}
}

// addNode has descriptors far apart, so that the table of them has holes.
func addNode(rnd *rand.Rand, tree *tree, model *forest) id {
	wd := 1 + rnd.Int32N(1<<16)
	for tree.byWd.get(wd) != 0 {
		wd++
	}
	n := tree.add(wd, 0, uint64(wd))
	model.parent[n], model.wd[n] = 0, wd
	return n
}

func compareTree(t *testing.T, tree *tree, model *forest) {
	t.Helper()
	living := 0
	for _, n := range model.nodes() {
		if model.wd[n] != 0 {
			living++
			if got := tree.byWd.get(model.wd[n]); got != n {
				t.Errorf("the node of descriptor %d is %d, want %d", model.wd[n], got, n)
			}
		}
		top := tree.root(n)
		var path strings.Builder
		fmt.Fprintf(&path, "(%d)", top)
		for _, name := range tree.namesBelow(top, n) {
			fmt.Fprintf(&path, "/%s", name)
		}
		if got, want := path.String(), model.path(n); got != want {
			t.Errorf("node %d is at %.60q, want %.60q", n, got, want)
		}
		if !tree.above(top, n) || tree.reachable(n) {
			t.Errorf("node %d: its top is not above it, or is no detached one", n)
		}
		if parent := model.parent[n]; parent != 0 {
			if got := tree.lookup(parent, []byte(model.name[n])); got != n {
				t.Errorf("in %d the name of %d leads to %d", parent, n, got)
			}
		}
		compareSubtree(t, tree, model, n)
	}
	if tree.count != living {
		t.Errorf("the tree counts %d watches, want %d", tree.count, living)
	}
	if got := used(tree.byWd); got != living {
		t.Errorf("the table of descriptors holds %d, want %d", got, living)
	}
}

// compareSubtree sees that all below n is listed once, parents first.
func compareSubtree(t *testing.T, tree *tree, model *forest, n id) {
	t.Helper()
	list := tree.subtree(nil, n)
	at := map[id]int{}
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

// used counts the descriptors that a table knows.
func used(table wdTable) (count int) {
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
	tree := newTree()
	root, n := tree.add(1, 0, 1), tree.add(2, 0, 2)
	for i := range 100_000 {
		tree.detach(n)
		tree.attach(n, root, fmt.Appendf(nil, "a name of thirty bytes %07d", i))
	}
	if got := len(tree.names); got > 10_000 {
		t.Errorf("two nodes keep %d bytes of names", got)
	}
	if got, want := string(tree.nameOf(n)), "a name of thirty bytes 0099999"; got != want {
		t.Errorf("the name is %q, want %q", got, want)
	}
}

func TestLiveBelowATopAlone(t *testing.T) {
	tree := newTree()
	top, a, b := tree.add(1, 0, 1), tree.add(2, 0, 2), tree.add(3, 0, 3)
	tree.nodes[top].flags = flagRoot
	tree.attach(a, top, []byte("a"))
	tree.attach(b, a, []byte("b"))
	if !tree.reachable(b) {
		t.Error("a node below a top is not live")
	}
	tree.detach(a)
	if tree.reachable(b) || !tree.reachable(top) {
		t.Error("a node below a detached one is live, or the top is not")
	}
}

func TestDescriptorTableGivesPagesBack(t *testing.T) {
	var table wdTable
	wds := []int32{1, 1023, 1024, 5000, 3_000_000}
	for _, wd := range wds {
		table.set(wd, id(wd))
	}
	for _, wd := range wds {
		if got := table.get(wd); got != id(wd) {
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
	if i := slices.IndexFunc(table.pages, func(p *wdPage) bool { return p != nil }); i >= 0 {
		t.Errorf("page %d of the empty table is kept", i)
	}
}

func BenchmarkTreeRename(b *testing.B) {
	tree := newTree()
	root := tree.add(1, 0, 1)
	n := tree.add(2, 0, 2)
	for i := range int32(100_000) {
		tree.attach(tree.add(i+3, 0, 0), n, fmt.Appendf(nil, "%d", i))
	}
	names := [][]byte{[]byte("old"), []byte("new")}
	tree.attach(n, root, names[0])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tree.detach(n)
		tree.attach(n, root, names[i%2])
	}
}
