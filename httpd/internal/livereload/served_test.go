package livereload

import (
	"fmt"
	"strings"
	"testing"
)

// A bounded number of files is known. What is not known any more was served whenever.
func TestServedFilesAreBounded(t *testing.T) {
	var s servedFiles
	for i := range maxServed + 1 {
		s.note(fmt.Sprint(i), FileVersion{Inode: 1}, 9)
	}
	if got := s.files[fmt.Sprint(maxServed)]; got.since != 10 || len(s.files) > maxServed {
		t.Errorf("%d files are known, the latest %+v", len(s.files), got)
	}
	long := strings.Repeat("x", maxServedPath+1)
	s.note(long, FileVersion{Inode: 1}, 11)
	if _, known := s.files[long]; known {
		t.Error("a long path is known, which a client may have made up")
	}
}
