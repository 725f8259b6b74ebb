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
)

// A Snapshot is what there is to show at one moment. It may hold more than the
// page shows.
type Snapshot struct {
	Open    int        // open pages, of which Pages may be the first
	Pages   []OpenPage // in any order
	Changed uint64     // changes so far, of which Changes are the last
	Changes []Change   // the latest first
	Errors  []Error
	Runs    []Run // the latest first
	Watches []Watch
}

// An OpenPage is a page that is open in a browser.
type OpenPage struct {
	URL    string // as the browser has it, at most a few KiB
	Remote string // IP address of the browser
	Since  time.Time

	Reports bool     // its client reports what it uses
	Known   bool     // it has reported all of it
	Used    int      // files that it uses
	Uses    []string // the first of them, as URL paths
}

// A Change is a change of files, and the pages that it affected.
type Change struct {
	Number    uint64 // unique in the life of a server
	Time      time.Time
	Files     []string // relative to the root; "" is the root
	MoreFiles int      // that are not in Files
	Names     bool     // names came or went; false: contents changed
	Affected  []AffectedPage
	MorePages int // that are not in Affected
}

// An AffectedPage is a page that was told of a change.
type AffectedPage struct {
	URL       string
	Reason    Reason
	Reload    bool   // it loads again; false: it fetches files again in place
	File      string // the file that it loads again for, or the first that it fetches
	MoreFiles int    // that it fetches as well
}

// A Reason says why a page is affected by a change.
type Reason int

// The reasons.
const (
	MayUse Reason = iota // the page does not report what it uses
	Shows                // it shows a file that changed
	Uses                 // it uses a file that changed
)

// An Error is an error that pages show. An error without paths is shown by every
// page.
type Error struct {
	Title, Text string
	Paths       []string // pages that show or use one of these files show the error
}

// A Run is a run of a command. It has the fields of httpd.Run.
type Run struct {
	ID         uint64
	Route      string
	Command    string
	Paths      []string
	Batch      int
	Start      time.Time
	Took       time.Duration
	State      string // running, failed, stopped or done
	Outcome    string
	Output     []byte
	LeftBehind string
}

// A Watch says how much of a root is watched. It has the fields of httpd.Watch.
type Watch struct {
	Root      string
	Watched   int
	Unwatched int
}

// public returns the part of a snapshot that is not for the owner alone. Left out
// is what says something about the machine or its users: addresses of browsers,
// places of directories, and of runs the commands, paths, output and the reason of
// a failure.
func (s Snapshot) public() Snapshot {
	s.Pages = slices.Clone(s.Pages)
	for i := range s.Pages {
		s.Pages[i].Remote = ""
	}

	s.Runs = slices.Clone(s.Runs)
	for i := range s.Runs {
		r := &s.Runs[i]
		r.Command, r.Paths, r.Output, r.LeftBehind = "", nil, nil, ""
		if r.State == "failed" {
			r.Outcome = "failed"
		}
	}

	s.Watches = slices.Clone(s.Watches)
	for i := range s.Watches {
		s.Watches[i].Root = path.Base(s.Watches[i].Root)
	}
	return s
}
