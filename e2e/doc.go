// Package e2e tests execlogd from outside, as its users meet it: the built
// program, driven by scripts; Chromium, looking at pages that it serves; and
// a systemd of its own, that runs it as a service.
//
// It is a module of its own, so that what only these tests need stays out of
// the requirements of the program, and it imports nothing of the program.
// TestMain builds the binary, with the race detector where there is a C
// compiler; EXECLOGD names another binary to test instead.
//
//	script_test.go   TestScripts: the commands of testdata/*.txtar
//	browser_test.go  TestBrowser: Chromium, the bundled client, livereload-js
//	examples_test.go TestExampleGoServer: the example whose pages need Chromium
//	nginx_test.go    TestPrivateBehindNginx: nginx with the block of docs/service.md
//	systemd_test.go  TestSystemd: make install, systemctl, socket activation
//	host_test.go     boots the systemd that TestSystemd talks to
//	daemon_test.go   one running execlogd
//	screenshot_test.go makes the GIF of README
//	page_test.go     one browser's end of the LiveReload protocol
//
// What a machine cannot do is skipped with the reason. Waiting is polling with
// a deadline that only a defect reaches. The one exception is proof that
// nothing happens: it takes the time called calm.
package e2e
