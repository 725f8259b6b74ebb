package runnable

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
)

// sayAgain is how long it is not said again that a file is waited for: several routes
// may wait for it.
const sayAgain = time.Minute

// A WaitLog says which files are waited for because they are being written, each file
// once. The zero value has said nothing.
type WaitLog struct {
	mu   sync.Mutex
	said map[string]time.Time // by the file's absolute path
}

// Line returns what to say of a file; empty if that was said already.
func (w *WaitLog) Line(e inotify.Event) string {
	if !w.isNews(e.Name(), time.Now()) {
		return ""
	}

	who := "a program"
	if writer, ok := job.WriterOf(realPath(e)); ok {
		who = writer.String()
	}
	name := e.Path
	if name == "." { // the root is a file
		name = filepath.Base(e.Root)
	}
	return logging.Printable(fmt.Sprintf("waiting for %s, which %s is writing", name, who))
}

func (w *WaitLog) isNews(file string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()

	maps.DeleteFunc(w.said, func(_ string, at time.Time) bool { return now.Sub(at) >= sayAgain })
	if _, said := w.said[file]; said {
		return false
	}

	if w.said == nil {
		w.said = make(map[string]time.Time)
	}
	w.said[file] = now
	return true
}
