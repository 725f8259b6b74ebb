package httpd

import (
	"cmp"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// How many near names are shown, and in how large a directory they are looked for.
const (
	maxNear        = 5
	maxNearEntries = 5000
)

// nearNames links to what is in the directory of a request under a name like the one that
// is not there. A directory with an index page shows nobody its names, so there only the
// owner is shown any.
func (s *handler) nearNames(r *http.Request) (near []link) {
	name, _, ok := urlpath.FileName(r.URL.Path)
	if !ok || name == "." {
		return nil
	}
	dir, err := s.open(path.Dir(name))
	if err != nil {
		return nil
	}
	defer dir.Close()
	found, err := dir.ReadDir(maxNearEntries)
	if err != nil || !dir.IsDir() {
		return nil
	}
	index, _, _, err := s.find(dir.real, urlpath.Index)
	if err == nil {
		index.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) && (r.Header.Get("Origin") != "" || !s.isOwner(r)) {
		return nil
	}

	type candidate struct {
		distance int
		name     string
	}
	var candidates []candidate
	wanted := path.Base(name)
	for _, d := range found {
		if n := nearness(wanted, d.Name()); n >= 0 {
			candidates = append(candidates, candidate{n, d.Name()})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})

	// The address may have a slash at its end, which the links go up from.
	up := ""
	if strings.HasSuffix(r.URL.Path, "/") {
		up = "../"
	}
	for _, c := range candidates {
		if len(near) == maxNear {
			break
		}
		if e, ok := s.entry(dir, c.name); ok {
			e.Href = template.URL(up) + e.Href
			near = append(near, e.link)
		}
	}
	return near
}

// nearness is how far a name is from the one that was wanted, or -1 if they are not alike:
// the letters that differ, without case and extensions.
func nearness(wanted, name string) int {
	stem := func(s string) string { return strings.ToLower(strings.TrimSuffix(s, path.Ext(s))) }
	a, b := stem(wanted), stem(name)
	if a == "" || len(a) > 64 || len(b) > 64 {
		return -1
	}
	limit := max(1, len(a)/3)
	if max(len(a)-len(b), len(b)-len(a)) > limit {
		return -1
	}
	n := distance(a, b)
	if n > limit {
		return -1
	}
	if !strings.EqualFold(path.Ext(wanted), path.Ext(name)) {
		n++
	}
	return n
}

// distance is the number of bytes to be added, removed or replaced between two texts, or
// swapped with their neighbour.
func distance(a, b string) int {
	// What both begin or end with is not compared: the names of a directory may be of a kind.
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			differ := 1
			if a[i-1] == b[j-1] {
				differ = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differ)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
