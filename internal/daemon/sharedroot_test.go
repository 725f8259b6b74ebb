package daemon

import "testing"

// A daemon whose bus is away works all the same. What is shared takes a restart to change.
func TestBusIsAway(t *testing.T) {
	const text = `
[server]
root = "src"
port = 0
shared = true

[bus]
url = "nats://127.0.0.1:1"

[[route]]
name = "r"
match = "*.md"
shell = "echo ran"
`
	s := begin(t, "-- src/index.html --\n<p>\n-- x.toml --\n"+text)
	s.Await(`level=WARN msg="bus is away`)
	s.Write("a.md", "1")
	s.Await("msg=ran")

	s.Write("x.toml", text+"debounce = \"0s\"\n")
	s.Hangup()
	s.Await(`msg="configuration loaded"`)
	s.Write("x.toml", text+"\n[bus.more]\n")
	s.Hangup()
	s.Await(`msg="configuration refused`)
	s.Write("x.toml", "[server]\nroot = \"src\"\nport = 0\nshared = \"other\"\n[bus]\nurl = \"nats://127.0.0.1:1\"\n")
	s.Hangup()
	s.Await(`takes a restart`)
	s.Write("x.toml", text+"queue = \"q\"\n")
	s.Hangup()
	s.Await(`takes a restart`)
}
