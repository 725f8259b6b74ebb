package control

import "testing"

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		here   string
		places [][]string
		want   int
	}{
		{"/a", [][]string{{"/a"}, {"/b"}}, 0},
		{"/a/x", [][]string{{"/b"}, {"/a"}}, 1},
		{"/a/x/y", [][]string{{"/a"}, {"/a/x"}, {"/"}}, 1},
		{"/ab", [][]string{{"/a"}, {"/b"}}, -1},
		{"/a", [][]string{{"/a/x"}, {"/b"}}, -1},
		{"/a", [][]string{{"/a"}, {"/b", "/a"}}, -1},
		{"/a/x", [][]string{{"/a"}, {"/a"}, {"/b", "/a/x"}}, 2},
		{"/a", [][]string{nil, nil}, -1},
	} {
		if got := nearest(tt.here, tt.places); got != tt.want {
			t.Errorf("in %s of %q: %d, want %d", tt.here, tt.places, got, tt.want)
		}
	}
}
