package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// MaxBuilds is how many runs the timeline shows. It shows as many changes, and reloads,
// as a livereload.Snapshot has.
const MaxBuilds = 60

const (
	timelineSpan  = 5 * time.Minute
	timelineMinor = time.Minute     // between two lines
	timelineEdge  = 6 * time.Second // after the latest, so that its mark is whole
	timelineStep  = 5 * time.Second // in which the timeline goes on while something runs

	minBuildWidth = 0.4 // percent: what is narrower is not seen

	maxMarkFiles = 3  // that a mark names
	maxMarkText  = 80 // bytes of each text in its title
)

// A timeline is a picture of the last changes, builds and reloads: of the five minutes
// that end with the latest of them. It depends on the Snapshot alone, so that a page to
// which nothing happens need not be sent again.
type timeline struct {
	From, To time.Time
	Summary  string   // of what is in it; empty if that is nothing
	Lines    []string // where minutes begin; lengths here are in percent of the width, as in "12.5%"
	Changes  []mark   // in the order in which they happened, as are the others
	Builds   []mark
	Reloads  []mark
}

// A mark is one of the things in a timeline.
type mark struct {
	Kind  string // a class: change, done, failed, running, stopped, reload or in-place
	Title string
	Time  time.Time
	X     string
	End   string // of a build: where its end is, and how wide it is
	Width string
}

func newTimeline(s Snapshot) timeline {
	t := timeline{To: latest(s)}
	if t.To.IsZero() {
		return t
	}
	t.To = t.To.Add(timelineEdge)
	t.From = t.To.Add(-timelineSpan)
	for at := timelineMinor; at < timelineSpan; at += timelineMinor {
		t.Lines = append(t.Lines, percent(t.place(t.From.Add(at))))
	}

	reloads := 0
	for _, c := range slices.Backward(s.Changes) {
		if c.Time.Before(t.From) {
			continue
		}
		x, files := percent(t.place(c.Time)), markFiles(c)
		t.Changes = append(t.Changes, mark{Kind: "change", Title: changeTitle(c, files), Time: c.Time, X: x})

		if c.Reloads > 0 {
			t.Reloads = append(t.Reloads, mark{Kind: "reload", Title: loadTitle(c.Reloads) + ", for " + files, Time: c.Time, X: x})
		} else if inPlace := len(c.Affected) + c.MorePages; inPlace > 0 {
			t.Reloads = append(t.Reloads, mark{Kind: "in-place", Title: count(inPlace, "page") + " updated in place, for " + files, Time: c.Time, X: x})
		}
		reloads += c.Reloads
	}

	failed := 0
	for _, r := range slices.Backward(s.Builds[:min(len(s.Builds), MaxBuilds)]) {
		begin, end := extent(r)
		if end.Before(t.From) {
			continue
		}
		from, to := t.place(begin), t.place(end)
		t.Builds = append(t.Builds, mark{
			Kind: r.State, Title: buildTitle(r), Time: begin,
			X: percent(from), End: percent(to), Width: percent(max(to-from, minBuildWidth)),
		})
		if r.State == "failed" {
			failed++
		}
	}

	t.Summary = count(len(t.Changes), "change") + ", " + count(len(t.Builds), "build")
	if failed > 0 {
		t.Summary += fmt.Sprintf(" (%d failed)", failed)
	}
	t.Summary += ", " + count(reloads, "page") + " loaded again"
	return t
}

// latest returns the time of what happened last, or zero if nothing has.
func latest(s Snapshot) (at time.Time) {
	if len(s.Changes) > 0 {
		at = s.Changes[0].Time
	}
	for _, r := range s.Builds {
		if _, end := extent(r); end.After(at) {
			at = end
		}
	}
	return at
}

// extent returns from when to when a run is shown: a service when it failed or else when
// it started, as it runs on, and anything else as long as it took.
func extent(r Run) (begin, end time.Time) {
	end = r.Start.Add(r.Took)
	switch {
	case r.Ready && r.State == "failed":
		return end, end
	case r.Ready:
		return r.Start, r.Start
	case r.State == "running":
		return r.Start, r.Start.Add(r.Took.Truncate(timelineStep))
	}
	return r.Start, end
}

// place returns where a time is, in percent of the width; what was before is at 0.
func (t timeline) place(at time.Time) float64 {
	return max(0, 100*at.Sub(t.From).Seconds()/timelineSpan.Seconds())
}

func percent(x float64) string { return fmt.Sprintf("%.2f%%", x) }

func markFiles(c livereload.Change) string {
	var names []string
	for _, file := range c.Files[:min(len(c.Files), maxMarkFiles)] {
		if file == "" {
			file = "/"
		}
		names = append(names, shorten(file, maxMarkText))
	}
	text := strings.Join(names, ", ")
	if rest := more(len(c.Files)+c.MoreFiles-len(names), "file"); rest != "" {
		text += " " + rest
	}
	return text
}

func changeTitle(c livereload.Change, files string) string {
	if c.Names {
		return files + " came or went"
	}
	return files + " changed"
}

func loadTitle(pages int) string { return count(pages, "page") + " loaded again" }

func buildTitle(r Run) string {
	title := shorten(r.Route, maxMarkText) + ": " + shorten(outcome(r), maxMarkText)
	if r.Problem != "" {
		title += ": " + shorten(r.Problem, maxMarkText)
	}
	return title
}
