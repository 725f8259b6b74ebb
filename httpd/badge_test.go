package httpd

import (
	"testing"
)

// element and missingElement are the script elements of pages that are served
// before anything has changed.
func (r *running) element() string { return badge{epoch: r.epoch}.element() }

func (r *running) missingElement() string { return badge{epoch: r.epoch, missing: true}.element() }

func TestBadge(t *testing.T) {
	for _, b := range []badge{{}, {epoch: "E", number: 7}, {epoch: "E", number: 1 << 63, missing: true}} {
		if got := parseBadge(b.String()); got != b {
			t.Errorf("%+v became %q became %+v", b, b.String(), got)
		}
	}
	for _, query := range []string{"", "token=abc", "E", "E.", "E.-1", "E.x,missing", "missing"} {
		if got := parseBadge(query); got != (badge{}) {
			t.Errorf("%q became %+v, want none", query, got)
		}
	}
}

// A page is served, and before its socket is open, things change.
func TestAPageHearsWhatChangedBeforeItsSocketOpened(t *testing.T) {
	many := make([]string, maxPast+1)
	for i := range many {
		many[i] = "other.html"
	}
	tests := []struct {
		name           string
		before, during []string // one Refresh each
		want           string
	}{
		{"nothing", nil, nil, ""},
		{"only before it was served", []string{"a.html", "x.css"}, nil, ""},
		{"its file", []string{"b.html"}, []string{"a.html"}, "/a.html !"},
		{"another page's file", nil, []string{"b.html"}, ""},
		{"a style sheet, twice", nil, []string{"x.css", "x.css"}, "/x.css"},
		{"a style sheet and its file", nil, []string{"x.css", "a.html"}, "/a.html !"},
		{"more than is remembered", nil, many, "/ !"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Options{Root: t.TempDir()})
			for _, p := range tt.before {
				s.Refresh(p)
			}
			number := s.hub.number()
			for _, p := range tt.during {
				s.Refresh(p)
			}
			slot := s.hub.join()
			defer s.hub.leave(slot)
			s.hub.catchUp(slot, newPage("http://h/a.html", "h", s.directory), number)
			if got := told(s.hub.take(slot)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
