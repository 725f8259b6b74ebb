package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

// A root that a run removes and makes again is no news, and one that stays away is.
func TestRootThatIsMadeAgain(t *testing.T) {
	for name, kind := range map[string]string{
		"a route that pages wait for": "after = ['gen']\n[[route]]\nname = 'gen'\n",
		"a route with the output":     "[[route]]\nname = 'gen'\noutputs = '/public/'\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, `
-- public/a.html --
-- src/ --
-- x.toml --
[server]
root = 'public'
port = 0
`+kind+`match = 'src/'
shell = 'rm -r public; echo removed; read -r make <src/.next; $make'
`, "-log-level", "debug")
			s.Fifo("src/.next")
			s.Write("src/a", "1")
			s.AwaitAll(`level=INFO msg=removed`, `level=DEBUG msg="root is gone`)
			s.Write("src/.next", "mkdir public\n")
			s.AwaitAll(`level=DEBUG msg="root is there again`, "msg=done route=gen")

			s.Write("src/a", "2")
			s.AwaitAll(`level=INFO msg=removed`, `level=DEBUG msg="root is gone`)
			s.Write("src/.next", "true\n")
			s.AwaitAll(`level=WARN msg="root is gone`, "msg=done route=gen")

			public := filepath.Join(s.Dir, "public")
			testenv.Check(t, os.Mkdir(public, 0o700))
			s.Await(`level=INFO msg="root is there again`)
			testenv.Check(t, os.Remove(public))
			s.Await(`level=WARN msg="root is gone`)
		})
	}
}
