package livereload

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// A page may name so many files, of so many bytes together. One that names
// more counts as using everything.
const (
	maxUses     = 4096
	maxUseBytes = 512 << 10
)

// All pages together may name so many different files. When they do, a page that
// names more than a few counts as using everything.
const (
	maxNames = 128 << 10
	fewUses  = 256
)

// listingPrefix marks the use of a directory's list of names, as opposed to what
// is shown at its path. No canonical path begins like that.
const listingPrefix = "list:"

// parseUses reads a list. What is no use has an empty place in the result, so
// that both count alike.
func parseUses(texts []string) []string {
	uses := make([]string, len(texts))
	for i, text := range texts {
		uses[i], _ = urlpath.Parse(text)
	}
	return uses
}

// A resource is a URL path that open pages show or use. All pages share one, which
// goes with the last of them. The hub's lock guards it.
type resource struct {
	path        string // canonical, or listingOf with a directory's
	subscribers []subscriber
	state       FileState // what was there when it was looked at last
	readable    FileState // the last time that it could be read
	err         *PageError

	announced bool // Recheck has told of the sight

	// The sum of the sight whose content every page with the use has, or has
	// been told to fetch; 0 when some page may have another. That is so also
	// when the next that is told of the file is how it came to be as in untold.
	delivered uint64
	untold    FileVersion

	generation uint64 // of the latest ruling that is about it
	hits       uint64 // which files of that ruling it stands for
}

// A subscriber is a page that has a use. Users are in the order in which they came,
// mostly, so that a change visits pages one after the other in memory.
type subscriber struct {
	client *client
	at     int32 // where the page has it: the index in uses, or the complement of that in own
}

// A FileState is what a request for a use's path would have been answered with,
// when somebody looked. The zero sight is none.
type FileState struct {
	Kind    FileKind
	Name    string // of the file, beneath the root
	Version FileVersion
	Changed int64  // ms since 1970: no change of it is later; of the directory where nothing is
	Sum     uint64 // of the path and all that changes with the content
	Exact   bool   // the sum is of a file's content itself: where it is the same, nothing has changed
	Err     error  // why it is broken
}

type FileKind int

const (
	Unknown    FileKind = iota
	Missing             // a request is answered with 404
	Directory           // with a list of names
	Regular             // with a file
	Unreadable          // with an error: there is something that cannot be read
)

func (w FileKind) String() string {
	return [...]string{"unseen", "absent", "directory", "regular", "broken"}[w]
}

// A digest says what a page had when it was told: the state of the files that
// it named first, and of what it shows. It lives longer than a Server's
// numbers do.
type digest struct {
	n    int    // files that it named, counting those that are none
	uses uint64 // sum of their sums
	own  uint64 // the same for what it shows
}

// String is for the client, who need not understand it.
func (d digest) String() string { return string(d.append(nil)) }

func (d digest) append(b []byte) []byte {
	b = append(strconv.AppendInt(b, int64(d.n), 10), '-')
	b = append(strconv.AppendUint(b, d.uses, 16), '-')
	return strconv.AppendUint(b, d.own, 16)
}

// parseDigest reads what String writes.
func parseDigest(text string) (d digest, ok bool) {
	n, sums, _ := strings.Cut(text, "-")
	uses, own, _ := strings.Cut(sums, "-")
	var errs [3]error
	d.n, errs[0] = strconv.Atoi(n)
	d.uses, errs[1] = strconv.ParseUint(uses, 16, 64)
	d.own, errs[2] = strconv.ParseUint(own, 16, 64)
	if cmp.Or(errs[:]...) != nil || d.n < 0 {
		return digest{}, false
	}
	return d, true
}

func sumOf(uses []*resource) (sum uint64) {
	for _, u := range uses {
		sum += u.state.Sum
	}
	return sum
}

// ListingOf returns the path that is looked at for the list of a directory.
func ListingOf(dir string) string { return listingPrefix + dir }

// CutListing returns the directory of a path that ListingOf has returned.
func CutListing(path string) (dir string, ok bool) { return strings.CutPrefix(path, listingPrefix) }
