package httpd

import "testing"

func TestBadge(t *testing.T) {
	for _, b := range []badge{
		{},
		{position: position{"E", 7, 1733333333333}},
		{position: position{"E", 1 << 63, 0}, missing: true},
		{position: position{"E", 1, -1}, listing: true},
		{position: position{"E", 1, 1}, listing: true, names: 1<<64 - 1},
		{position: position{"E", 1, 1}, missing: true, listing: true},
	} {
		if got := parseBadge(b.String()); got != b {
			t.Errorf("%+v became %q became %+v", b, b.String(), got)
		}
	}
	for _, query := range []string{"", "token=abc", "E", "E.", "E.-1", "E.x,missing", "missing", "E.1.x", "E.1.2.3", "E..2", "E.1,listing-", "E.1,listing-x"} {
		if got := parseBadge(query); got != (badge{}) {
			t.Errorf("%q became %+v, want none", query, got)
		}
	}
}
