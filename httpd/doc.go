// Package httpd serves a directory over HTTP and keeps the pages that are open
// in browsers up to date: static files, a script element put into each page,
// and the LiveReload endpoint that the script listens at.
//
//	server, err := httpd.New(httpd.Options{Root: "/srv/www"})
//	if err != nil {
//		return err
//	}
//	defer server.Close()
//	ln, err := net.Listen("tcp", "127.0.0.1:8000")
//	if err != nil {
//		return err
//	}
//	go func() {
//		for paths := range changes {
//			server.Refresh(paths...)
//		}
//	}()
//	return server.Serve(ctx, ln)
//
// # Files
//
// No path leads out of the root, by dots, encoding or symbolic link. A relative link
// that stays inside is followed. Hidden files, and what is in a hidden directory, are
// not served; a link with another name does not change that for a hidden file, but
// does publish a file that is only in a hidden directory (current -> .releases/42).
// The files of Options.Private are served by no name. Only regular files are opened.
//
// A directory is shown by its index.html or else as a list (?sort=name, size or date,
// &order=asc or desc). /a shows a.html if there is no a. 404.html at the top of the
// root is shown for what is missing. Ranges and conditional requests work as in
// [http.ServeContent]. The type of a file goes by its name.
//
// A file may be rewritten in place while it is sent: the client gets one version of
// it. A file of up to 256 KiB is read again while it changes, and is answered with 503
// after a tenth of a second of that. For a larger one the connection is broken, and for
// two seconds after a write it has neither ETag nor Last-Modified. Writes through a
// memory map may go unnoticed.
//
// Clients have ten seconds for the header of a request, and two minutes between
// requests or without taking anything of an answer. No request needs a body: one that
// announces a body is answered at once and its connection closed.
//
// Pages of other sites may link to files but not embed them
// (Cross-Origin-Resource-Policy: same-site). /livereload.js may be loaded from
// anywhere.
//
// # The script
//
// Each page that a browser shows gets a script element, with a relative URL so that a
// proxy may put the site below a path. It comes behind the start tag of head, else of
// html, else behind the doctype, else at the start. The file's bytes are not touched.
// Left alone are pages that have a LiveReload script, pages in UTF-16, answers to a
// script's own fetch (by Sec-Fetch-Dest), and pages whose first 256 KiB are comments.
// With Options.NoInject a page that links livereload.js itself is kept up to date.
//
// The script needs 'self' in the connect-src of a Content-Security-Policy, or in
// default-src if there is no connect-src. The log names, once for each policy, a page
// whose policy in a meta element has not, and a page that reports that its socket was
// forbidden.
//
// # In the page
//
// The script finds what a page uses in the browser's resource timing and in the
// document: elements, srcset, style sheets, open shadow roots, and frames without a
// script of ours. A failed fetch whose answer nobody read is not in there; the server
// reports it, if it knows the page by the Referer. Files that workers load are not
// found.
//
// A style sheet is swapped for a new copy once that has loaded, and so is an image. A
// file that a script fetched, or that nothing in the document refers to, reloads the
// page. After a reload the page gets back scroll positions, the focus and what was
// typed or chosen (passwords, files and credit cards excepted), through sessionStorage.
// A hidden page waits until it is visible. A visible page looks twice a second for a
// server that is gone. At rest a page has no timer.
//
// # Which pages a change affects
//
// Refresh decides once for each page: to reload it, or else to fetch style sheets and
// images again in place.
//
// A page of this server with our client reports what it shows and uses, including what
// it tried to load in vain. Only changes of these files affect it. What it shows reloads
// it. Of what it uses, style sheets and images (.gif .jpg .jpeg .png .webp .avif .svg
// .apng .bmp .ico) are fetched again in place, and anything else reloads it. A directory
// that changed as a whole reloads the pages that show or use something in it. a.html is
// shown at /a.html and /a; a/index.html at /a/, /a/index.html and /a; 404.html by every
// page that was answered with it. Queries and fragments do not count.
//
// A file that is written again with the same content has not changed for these pages.
// Content is compared by a digest, for files of up to 8 MiB, else by size and times.
// Where a page may have got something else in between, or within 10 ms of a write, it is
// told all the same. A page that names more than 4096 files, or 512 KiB of names, counts
// as using everything; so does one that names more than 256 when all pages together name
// more than 131,072.
//
// Other pages, of livereload-js and browser extensions, get the rule of the origin:
//
//   - An HTML file (.html .htm .xhtml) reloads the pages that show it.
//   - A directory that changed as a whole reloads every page.
//   - A style sheet (.css), and an image (.gif .jpeg .jpg .png), is fetched again in
//     place by every page; more than 32 at once, or names that are not UTF-8, reload it.
//   - Other files that pages load reload every page: scripts, data, fonts, media, .wasm,
//     .webmanifest, and other images (.svg .webp .avif .ico).
//   - Anything else reloads the pages that show it.
//
// Every HTML file affects the pages of another server that may listen, file: pages from
// outside the root, and all pages when no files are served. Hidden files affect no page.
//
// Recheck is for names: a page that lists a directory reloads when a name in it comes or
// goes. A file that a page uses and that is gone or unreadable is an error, which our
// client shows until it is over; only then does the page reload. A file that never was
// there is no error. SetError shows other errors in the same way.
//
// # Catching up
//
// Changes are numbered. A page carries the number that it was served at, and our client
// says up to which number it was told. So a page whose websocket opens late, or again, is
// told what it missed of the last 256 changes of at most 1024 files each. After more
// changes, or a restart, digests of the files that it used decide whether it reloads. A
// page without digests reloads if one of its files changed after it was served, by ctime,
// or if the clock was set back. A page does not reload twice for the same reason.
//
// Not promised: changes that a page misses which does not report what it uses, unless the
// same server goes on; and changes of the target of a symbolic link through which a page
// is reached.
//
// # Changing options
//
// Change replaces the options of a Server that serves: each request is answered by
// those of the moment when it came, and no connection is lost. To listen elsewhere,
// call Serve for another listener and close the first one: its Serve returns when its
// last connection is over. Not promised: an answer to a connection that the kernel has
// accepted and Serve has not.
//
// # The websocket
//
// /livereload speaks the LiveReload protocol, official-7. A page is told nothing before
// it has said hello and sent info; changes in between are kept for it. Updates that a
// page has not taken are merged. One that does not read delays no other; it is
// disconnected after ten seconds, and after fifteen if it does not answer a ping. At rest
// a page costs one goroutine and less than 10 KiB. Unknown commands are ignored; what is
// not the protocol closes the connection.
//
// Of one page 1 MiB of messages is read at once, and then 16 KiB a second (256 bytes more
// for each message, and one for each file that is compared for it). Messages of more than
// 8 KiB are handled one at a time over all pages. Nothing that comes over the websocket
// runs a command or reads a file; files that a page of this server names are opened, to
// see whether they can be.
//
// A client that offers https://github.com/execlog/execlogd/protocol-1 as well is
// answered in that protocol, which the package httpd/internal/livereload describes.
//
// # The status page
//
// /.execlogd/ shows which pages are open, what changed lately and which pages that
// affected, the last 20 runs (Options.Runs) with the last 4 KiB of output, what is
// watched (Options.Watches), and errors. It follows by server-sent events, at most
// four a second; 32 of the owner's pages may follow, and 32 of all others together.
// Queries of pages' URLs are not shown. The page is not there without live reload.
//
// Places of directories, addresses of browsers, and of runs the commands, paths, output
// and reasons of failure are for the owner alone. The owner is who has opened
// /.execlogd/?token=TOKEN with Options.Token, which leaves a cookie; or who asks
// directly: from this machine, by a program of the server's user or of root, with a
// loopback name in Host, by HTTP/1.1, and without a header that browsers do not send by
// themselves, as those of proxies. In doubt it is not the owner. Not told apart from
// the owner is a program of these users that forwards bytes as they are.
//
// # Access control
//
// Host must be a loopback name or address, an address that the listener is bound to
// (any of the machine's, for a wildcard), the machine's name, or in Options.AllowHosts.
// If a proxy on this machine puts another name into Host, the first of X-Forwarded-Host
// is the page's server, where it passes for Host as well.
//
// A page may listen for changes if it is of this server or its origin is in
// Options.AllowOrigins. If the request comes from this machine with no sign of a proxy,
// a loopback page at a loopback server may, and a file: page where no files are served.
// Programs that are no browsers send no Origin and may listen.
//
// # The log
//
// Of the lines that whoever can connect may cause, five of a kind are logged at once (50
// of policies in pages) and then one a minute, which says as "suppressed" how many were
// left out. Close logs how many were left out last. Lines at level Debug are not
// limited.
package httpd
