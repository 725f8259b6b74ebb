package livereload

import "testing"

func TestPageToken(t *testing.T) {
	for _, b := range []PageToken{
		{},
		{Cursor: Cursor{"E", 7, 1733333333333, ""}},
		{Cursor: Cursor{"E", 1 << 63, 0, ""}, Missing: true},
		{Cursor: Cursor{"E", 1, -1, ""}, Listing: true},
		{Cursor: Cursor{"E", 1, 1, ""}, Listing: true, Names: 1<<64 - 1},
		{Cursor: Cursor{"E", 1, 1, ""}, Missing: true, Listing: true},
		{Cursor: Cursor{"E", 1, 1, "6a3-7"}},
		{Cursor: Cursor{"E", 1, 1, "6a3-7"}, Failed: 403, Listing: true, Names: 5},
	} {
		if got := parsePageToken(b.String()); got != b {
			t.Errorf("%+v became %q became %+v", b, b.String(), got)
		}
	}
	for _, query := range []string{"", "token=abc", "E", "E.", "E.-1", "E.x,missing", "missing", "E.1.x", "E..2", "E.1,listing-", "E.1,listing-x"} {
		if got := parsePageToken(query); got != (PageToken{}) {
			t.Errorf("%q became %+v, want none", query, got)
		}
	}
}
