package router

import (
	"context"
	"testing"

	"github.com/execlog/execlogd/inotify"
)

func TestExplain(t *testing.T) {
	callback := func(context.Context, []inotify.Event) error { return nil }
	r, err := New(Options{},
		Route{Name: "all", Ignore: []string{".*", "node_modules"}, Outputs: []string{"/out"}, Callback: callback},
		Route{Name: "go", Patterns: []string{"*.mod", "cmd/**/*.{go,s}"}, Mask: inotify.Delete, Callback: callback},
		Route{Name: "elsewhere", Roots: []string{"other"}, Callback: callback},
	)
	if err != nil {
		t.Fatal(err)
	}
	const all, mod = Reload, inotify.Delete
	tests := []struct {
		path string
		want [2]Explanation
	}{
		{"a.txt", [2]Explanation{{"all", all, "", "", true, "", ""}, {"go", mod, "", "", false, "", ""}}},
		{"x/go.mod", [2]Explanation{{"all", all, "", "", true, "", ""}, {"go", mod, "", "*.mod", true, "", ""}}},
		{"cmd/x/y.s", [2]Explanation{{"all", all, "", "", true, "", ""}, {"go", mod, "", "cmd/**/*.{go,s}", true, "", ""}}},
		{"a/node_modules/go.mod", [2]Explanation{{"all", all, "node_modules", "", false, "", ""}, {"go", mod, "", "*.mod", true, "", ""}}},
		{".git/go.mod", [2]Explanation{{"all", all, ".*", "", false, "", ""}, {"go", mod, ".*", "*.mod", false, "", ""}}},
		{"out/x/go.mod", [2]Explanation{{"all", all, "", "", false, "/out", ""}, {"go", mod, "", "*.mod", true, "", ""}}},
	}
	for _, tt := range tests {
		if got := r.Explain("", tt.path); [2]Explanation(got) != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.path, got, tt.want)
		}
	}
}
