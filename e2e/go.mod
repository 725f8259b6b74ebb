module github.com/execlog/execlogd/e2e

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/rogpeppe/go-internal v1.16.0
)

require (
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/tools v0.26.0 // indirect
)
