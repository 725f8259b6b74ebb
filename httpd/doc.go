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
// Everything is opened beneath an [os.Root]: no path leads out of the root, by
// dots, encoding or symbolic link. A link that stays inside is followed.
// Hidden files, and whatever is in a hidden directory, are not there. A
// directory is shown by its index.html or else as a list, sorted as
// ?sort=name, size or date and &order=asc or desc say; /a shows a.html
// where there is no a; 404.html, at the top of the root, is shown for what is
// missing. Only regular files are served, by GET and HEAD, with ranges,
// validators and conditional requests as [http.ServeContent] has them. Other
// queries do not matter. The type of a file goes by its name; a page that names its
// encoding itself is not overruled.
//
// Pages of other sites may link to files, but not embed them
// (Cross-Origin-Resource-Policy: same-site), and scripts of other origins can
// read nothing. /livereload.js alone may be loaded from anywhere.
//
// # The script
//
// A page that a browser shows gets one element, a script with a source on the
// same server, by a relative URL, so that a proxy may show the site below a path
// of its own: behind the start tag of head, else of html, else behind the
// doctype, else at its start. The file's bytes are not touched. Pages that
// have a LiveReload script, pages in UTF-16, and responses to a script's own
// fetch (by Sec-Fetch-Dest) are left alone. So are pages that hide their
// doctype behind more than 256 KiB of comments. With Options.NoInject all
// files are, and a page that links livereload.js itself is kept up to date.
//
// The script works under a Content-Security-Policy that has 'self' in
// connect-src, or in default-src where there is no connect-src. The log names
// the page whose policy, in a meta element, has not, once for each policy. The
// script itself is not held up by it, as it comes before the element.
//
// # Which page a change concerns
//
// Refresh makes one decision for each page out of the set of changed files,
// and a page reload beats style sheets beat images:
//
//   - An HTML file (.html .htm .xhtml) concerns the pages that show it: a.html
//     is shown by /a.html and /a; a/index.html by /a/, /a/index.html and /a.
//     Queries and fragments do not matter. 404.html is shown by its own address
//     and by every page that was answered with it.
//   - A directory that changed as a whole, by a rename, reloads every page.
//   - A style sheet (.css) concerns every page, and is fetched again in place.
//     So are images (.gif .jpeg .jpg .png). More than 32 of them at once, or
//     names that are not UTF-8, reload the page.
//   - Whatever else pages load reloads every page: scripts, modules, data
//     (.json .xml .csv .txt .md ...), fonts, media, .wasm, .webmanifest, and
//     images that livereload-js does not swap or that are used in ways it does
//     not know (.svg .webp .avif .ico).
//   - Anything else (source maps, logs, databases, unknown kinds, names without
//     an extension) concerns the pages that show the file itself, or a note
//     that it is missing, and disturbs nobody else. Hidden files concern nobody.
//
// A page of another server (one that nginx serves next door) may show any
// file, so that every HTML file concerns it; the same goes for a
// file: page that is not beneath the root, and for all pages when no files are
// served.
//
// # The socket
//
// /livereload speaks the LiveReload protocol, official-7, with our client,
// livereload-js and the browser extensions. A browser is told nothing before
// it has said hello and sent info; what changes between the two is kept for
// it. Each browser has one slot, in which updates merge; one that does not
// read holds up nobody and is dropped after ten seconds, one that does not
// answer a ping after fifteen. A browser at rest costs one goroutine, its
// buffers and what is known of its page, less than 10 KiB in all, and nothing
// of net/http: the handler returns when the websocket is open. What is not understood is ignored, what is not
// the protocol ends the connection with the status that says so. Nothing that
// comes over the socket reads a file or runs anything.
//
// Not promised: what changes while a browser is not connected is not told
// later. A page that is reached through a symbolic link is known by the link's
// path, so that a change where the link leads does not concern it.
//
// # Strangers
//
// Host must be a loopback name or address, an address that the listener is
// bound to (any of the machine's, for a wildcard), the machine's name, or in
// Options.AllowHosts. For a handler in somebody else's http.Server the bound
// address is the connection's own ([http.LocalAddrContextKey]). Behind a proxy
// on this machine that puts another name into Host, the page's own server is the
// first in X-Forwarded-Host, where that passes for Host as well; from anywhere
// else the header does not count, and X-Forwarded-Proto never does. A page may
// listen when it is of this server, when it is a loopback page at a loopback
// server, or when its origin is in Options.AllowOrigins; a file: page, whose
// origin is null, when no files are served and it is on this machine. Programs
// that are no browsers send no Origin and may listen.
package httpd
