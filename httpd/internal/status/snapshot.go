// Package status renders the status page: which pages are open, what changed
// lately and which pages that affected, what has run, what is watched, and which
// errors are shown.
//
// It works on [Snapshot] values and knows neither the server nor a connection.
// [RenderPage] renders the whole document. A [Renderer] renders the part that changes,
// which [Stream] sends to the page's script whenever it is not as it was.
package status

import (
	"path"
	"slices"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// A Snapshot is what there is to show at one moment. It may hold more than the
// page shows.
type Snapshot struct {
	livereload.Snapshot       // pages, changes and errors
	Runs                []Run // the latest first
	Builds              []Run // the latest first, for the timeline: more of them, without output
	Watches             []Watch
	Sites               []string // hosts of other sites
}

// A Run is a run of a command. It has the fields of httpd.Run.
type Run struct {
	ID         uint64
	Route      string
	Machine    string
	Command    string
	Paths      []string
	Batch      int
	Start      time.Time
	Took       time.Duration
	State      string // running, failed, stopped or done
	Ready      bool
	Outcome    string
	Problem    string
	Place      string
	Output     []byte
	LeftBehind string
}

// A Watch says how much of a root is watched. It has the fields of httpd.Watch.
type Watch struct {
	Root      string
	Watched   int
	Unwatched int
}

// public returns the part of a snapshot that is not for the owner alone. It leaves out
// what says something about the machine or its users: other sites, titles of pages, browsers and
// their addresses, where roots are, what errors show of files, and of runs the command, paths,
// output, why and where they failed, what they left running, and on which other machine they ran.
func (s Snapshot) public() Snapshot {
	s.Pages = slices.Clone(s.Pages)
	for i := range s.Pages {
		s.Pages[i].Title, s.Pages[i].Remote, s.Pages[i].Browser = "", "", ""
	}

	s.Runs, s.Builds = publicRuns(s.Runs), publicRuns(s.Builds)

	s.Errors = slices.Clone(s.Errors)
	for i := range s.Errors {
		s.Errors[i] = s.Errors[i].Public()
	}

	s.Sites = nil
	s.Watches = slices.Clone(s.Watches)
	for i := range s.Watches {
		s.Watches[i].Root = path.Base(s.Watches[i].Root)
	}
	return s
}

func publicRuns(runs []Run) []Run {
	runs = slices.Clone(runs)
	for i := range runs {
		r := &runs[i]
		r.Machine, r.Command, r.Paths, r.Problem, r.Place, r.Output, r.LeftBehind = "", "", nil, "", "", nil, ""
		if r.State == "failed" {
			r.Outcome = "failed"
		}
	}
	return runs
}
