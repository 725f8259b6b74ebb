package httpd

import "github.com/execlog/execlogd/httpd/internal/livereload"

// A PageError is what pages show in place of what they would be: the output
// of a job that failed, the reason why a file cannot be read.
type PageError struct {
	// Title says what is wrong in a line. Text is the rest, in as many lines
	// as it takes. Both are shown as they are, never as HTML; of a longer text
	// the last 16 KiB.
	Title, Text string

	// Paths are the files, relative to the root, that the error is about: it
	// is shown by the pages that use or show one of them. A path with a slash
	// at its end is everything in that directory. None is every page.
	Paths []string
}

// SetError sets the error that a source has to show, in place of the one that
// it had; nil takes that away. A source is a name of the caller's choice,
// such as that of a job. Pages of our client show it at once, and those that
// come later when they come, until it is taken away. SetError does not block.
func (s *Server) SetError(source string, e *PageError) {
	s.hub.SetError(source, (*livereload.PageError)(e))
}

// Explain says, for people, which pages the change of a file's content affects and
// what it does to them, as far as the file's name decides it. The path is as in
// Server.Refresh.
func Explain(path string) string { return livereload.Explain(path) }

// ExplainNames is Explain for a name that comes or goes, or a file that may be
// read or not. The path is as in Server.Recheck.
func ExplainNames(path string) string { return livereload.ExplainNames(path) }
