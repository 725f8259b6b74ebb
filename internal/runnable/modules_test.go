package runnable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
)

// A builder finds programs in node_modules of its directory, and of those above that belong
// to the same user.
func TestProgramsOfModules(t *testing.T) {
	dir := config.Resolve(t.TempDir())
	project := filepath.Join(dir, "apps/web")
	above, foreign := filepath.Join(dir, "node_modules/.bin"), filepath.Join(dir, "apps/node_modules/.bin")
	testenv.Check(t, os.MkdirAll(project, 0o755), os.MkdirAll(above, 0o755), os.MkdirAll(foreign, 0o755))
	if os.Getuid() == 0 {
		testenv.Check(t, os.Chown(filepath.Dir(foreign), 1, 1))
	} else {
		testenv.Check(t, os.RemoveAll(foreign)) // it takes root to have one of another user
	}

	path := func(isBuilder bool) string {
		s := withModules(&config.Route{IsBuilder: isBuilder}, job.Service{Command: job.Command{Dir: project, Env: []string{"PATH=/own"}}})
		return strings.TrimPrefix(s.Env[len(s.Env)-1], "PATH=")
	}
	if got, want := path(true), project+"/node_modules/.bin:"+above+":/own"; got != want {
		t.Errorf("a builder has the path %s, want %s", got, want)
	}
	if got := path(false); got != "/own" {
		t.Errorf("another route has the path %s", got)
	}
}
