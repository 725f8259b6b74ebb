// Package e2e tests execlogd from outside, as its users meet it: the built program,
// driven by scripts; Chromium and Firefox, with pages that it serves; and a systemd that
// runs it as a service.
//
// It is a module of its own, so that the requirements of these tests are not those of
// the program, and it imports nothing of the program. TestMain builds the binary, with
// the race detector if there is a C compiler; EXECLOGD names another binary to test
// instead.
//
// What is tested:
//
//	script_test.go     TestScripts: testdata/*.txtar, and the commands of these scripts
//	browser_test.go    pages in browsers: our client, livereload-js, pages from elsewhere
//	client_test.go     what our own client does: state, errors, reconnecting, missed changes
//	csp_test.go        pages with a Content-Security-Policy
//	proxy_test.go      pages behind a proxy
//	applications_test.go Express and Vite behind the proxy of execlogd
//	compression_test.go files that browsers get compressed
//	nginx_test.go      what visitors see behind nginx, with the block of docs/service.md
//	bus_test.go        machines that share a tree, over a real NATS server
//	busqueue_test.go   queues of jobs for several machines
//	busqueuelate_test.go jobs that are over when another machine sees the change
//	buspages_test.go   pages that wait for jobs of other machines
//	busjunk_test.go    what others may put among the jobs
//	busrecipes_test.go the recipes of docs/machines.md
//	busnet_test.go     the same in network namespaces, and how long changes take (make bench-bus)
//	busqueue_test.go   queues of jobs that several machines do
//	busload_test.go    the same with kills, a machine that is cut off, and load (make bench-bus)
//	statuspage_test.go the status page
//	openfile_test.go   files that a program keeps open for writing
//	unreadlog_test.go  a log that nobody reads
//	examples_test.go   examples/goserver and examples/inbox
//	builders_test.go   the programs that the key builder knows, from Debian and from npm
//	systemd_test.go    make install, systemctl, socket activation
//	servicedoc_test.go the commands of docs/service.md
//	install_test.go    tools/install-missing
//	losses_test.go     files and requests that restarts lose (make losses)
//	serve_bench_test.go how fast files are served, beside other servers (make bench-serve)
//	sites_test.go      how fast saves show, beside the servers of generators (make bench-sites)
//	screenshot_test.go makes the GIF of README
//
// What they use:
//
//	daemon_test.go      one running execlogd
//	browsers_test.go    browsers and their tabs: tests run in each browser
//	chromium_test.go    Chromium, over its DevTools protocol
//	firefox_test.go     Firefox, over WebDriver BiDi
//	liveclient_test.go  the client's side of the LiveReload protocol
//	systemdhost_test.go the systemd that TestSystemd talks to
//
// What a machine cannot do is skipped with the reason. Tests wait by polling, with a
// time-out that only a defect reaches. To show that nothing happens, a test waits for
// quietTime. Tests run in parallel, as most wait most of the time; those that compare times
// or count descriptors run alone.
package e2e
