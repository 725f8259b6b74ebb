package livereload

import (
	"os/exec"
	"strings"
	"testing"
)

// maxScript is how large the client may be as it is served.
const maxScript = 23_000

func TestScriptIsSmall(t *testing.T) {
	if n := len(Client().Text); n > maxScript {
		t.Errorf("the client is %d bytes as served, want at most %d", n, maxScript)
	}
}

func TestScriptParses(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	for _, script := range []Script{Client(), SyncClient()} {
		check := exec.Command(node, "--check", "-")
		check.Stdin = strings.NewReader(script.Text)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// That all else is untouched as well, TestClientAsServed in e2e shows with a parser.
func TestMinify(t *testing.T) {
	tests := []struct{ what, in, want string }{
		{"comment lines", "// one\n//\n  // two\nx();\n", "x();"},
		{"comments behind code", "x(); // one\ny();", "x();y();"},
		{"comments of several lines", "/**\n * A thing.\n * @type {string}\n */\nlet x;\n", "let x;"},
		{"casts", "x = /** @type {any} */ (y);", "x=(y);"},
		{"indentation and line ends", "if (x) {\n  return y;\n}\nz();\n", "if(x){return y}z();"},
		{"space around punctuation", "const x = y ? [a, b] : { c };\n", "const x=y?[a,b]:{c};"},
		{"space between words", "return typeof x\n", "return typeof x"},
		{"strings", `x = "a  = b; // c } " + 'd';`, `x="a  = b; // c } "+'d';`},
		{"templates", "x = `${a} , ${b ? c : d} // e`;", "x=`${a} , ${b ? c : d} // e`;"},
		{"addresses", `x = "http://a/" + y;`, `x="http://a/"+y;`},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			if got := minify(tt.in); got != tt.want {
				t.Errorf("minify(%q)\n got %q\nwant %q", tt.in, got, tt.want)
			}
		})
	}
}
