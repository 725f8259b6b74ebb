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
// No path leads out of the root, by dots, encoding or, without Options.FollowSymlinks,
// symbolic link. A relative link
// that stays inside is followed. Hidden files, and what is in a hidden directory, are
// not served, except for /.well-known/. A link with another name does not publish a hidden file; it does publish
// a file that is only in a hidden directory (current -> .releases/42). The files of
// Options.Private are served by no name. Only regular files are opened.
//
// A directory is shown by its index.html or else as a list (?sort=name, size or date,
// &order=asc or desc), filtered by ?q= and shown in pages of 1000 (?page=). /a shows a.html if there is no a. 404.html at the top of the
// root is shown for what is missing. The type of a file goes by its
// name, and if that does not tell by its content: see Options.Types.
//
// Options.SPA, CleanURLs, ErrorPages, Redirects and Headers, and the files _redirects and
// _headers, say what else a path shows. A redirect with Force comes first, then the file,
// then any other redirect, then the list of a directory, then the fallback page for
// navigations, then 404. Rules match
// paths without double slashes and dots. Hidden files are not reached by any of them.
//
// Options.Sites are other Servers, each with a root and pages of its own, that answer for
// their host names at the same listeners. What is said here of a Server is of each.
//
// Ranges and conditional requests are those of RFC 9110. A range that cannot be
// understood, or of another unit than bytes, is ignored. If-Range counts with a strong
// ETag alone, as dates do not tell two saves in a second apart. A page with the script in
// it is never 304 by its date.
//
// A client gets one version of a file that is rewritten in place while it is sent. A
// file of up to 256 KiB is read again while it changes, and after a tenth of a second
// of that the answer is 503. For a larger file the connection is broken, and for two
// seconds after a write the file has neither ETag nor Last-Modified. Writes through a
// memory map may go unnoticed.
//
// Small files that were asked for lately are kept in memory (Options.CacheBytes). Each
// request looks whether its path still leads to the same file, so that no older version is
// served. A request of the same bytes as one before, at the same address, gets the answer of
// that as long as all that it depended on is as it was.
//
// With Options.Compress and Precompressed the coding of an answer is negotiated as in RFC 9110,
// 12.5.3: a client that takes none of them, and not the content as it is, is answered with 406.
// The ETag says which it is. A file over 256 KiB is compressed only when it has not changed for
// two seconds. The server's own pages are never compressed.
//
// Clients have ten seconds for the header of a request, and two minutes between
// requests or without taking anything of an answer. Over TLS the handshake has ten seconds
// as well. A request that announces a body is answered at once and its connection closed,
// as no request for a file needs one.
//
// # Applications
//
// Options.Proxies hand requests on to other servers: a path is matched decoded, with and
// without its dots, and handed on as it came. An upstream on this machine gets the Host of
// the browser, another one its own. X-Forwarded-For, -Host and -Proto and Via are set. Those
// of a proxy on this machine count; others are left out, as are Forwarded, X-Real-IP and
// further X-Forwarded- ones. Only websockets may upgrade. Nothing that comes back is
// decompressed. A request that has been here before is answered with 508.
//
// A page that answers a GET gets the script, if it is not compressed although it was asked for
// so. Of one that comes in parts, with 50 ms between them, the first has it. It has neither ETag
// nor Last-Modified then, ranges of it are not asked for, and Cache-Control is no-cache, as for
// all answers that have none. Redirects and cookies that name the upstream are for this site.
//
// Websockets, and requests with another method than GET, HEAD, OPTIONS and TRACE, are refused
// for pages of other sites that are not in Options.AllowOrigins. Sec-Fetch-Site or Origin say
// of which site a page is.
//
// An upstream to which nobody listens is waited for, for five seconds, and again after it was
// there. The answer is 502 otherwise, or 504 when the header of an answer does not come for two
// minutes; a page that says so loads again every second. Of a request's body something must come
// every ten seconds. Websockets and event streams end with Serve.
//
// # The script
//
// Each page that a browser shows gets a script element, in HTML, XHTML and SVG. Its URL
// is relative, so that a proxy may put the site below a path. It comes behind the start
// tag of head, else of html or svg, else behind the doctype, else at the start. The
// following are sent unchanged: pages that have a LiveReload script, pages in UTF-16, and
// pages whose first 256 KiB are comments. With Options.NoInject a page that links
// livereload.js itself is kept up to date.
//
// So are images, and what a script fetches. Sec-Fetch-Dest says what a request is for.
// Where it is missing, as over plain HTTP from another machine, or says that it is a
// fetch, as a service worker's of a page is, a page is what Accept names text/html for.
//
// The script needs 'self' in the connect-src of a Content-Security-Policy, or in
// default-src if there is no connect-src. The log names, once for each policy, a page
// whose meta element has a policy without it, and a page that reports that its socket
// was forbidden.
//
// The script finds what a page uses in the browser's resource timing and in the
// document. Of files that workers and worklets load it is told by the server, which knows
// them by their Referer. After a reload the page gets back
// scroll positions, the focus and what was typed or chosen (passwords, files and credit
// cards excepted). A hidden page waits until it is visible.
//
// A page has no socket while the browser keeps it for the back button. Firefox keeps none
// whose own socket is open when it begins to go: one that is closed in pagehide,
// beforeunload, at a navigate event or by its worker is too late, and a shared worker, which
// would do, is forbidden by many policies. So there it is the socket of an empty frame, in a
// closed shadow root, and goes with it at beforeunload.
//
// # Which pages a change affects
//
// Refresh decides once for each page: to reload it, or else to fetch style sheets and
// images again in place.
//
// A page of this server with our client reports what it shows and uses, including what
// it tried to load in vain. Only changes of these files affect it:
//
//   - A file that the page shows reloads it. a.html is shown at /a.html and /a;
//     a/index.html at /a/, /a/index.html and /a; 404.html by every page that was
//     answered with it. Queries and fragments do not count. A page that shows another
//     path's file by a rule or as the fallback page reloads for that file, and when its own
//     path gets one.
//   - A style sheet or an image (.gif .jpg .jpeg .png .webp .avif .svg .apng .bmp .ico)
//     that it uses is fetched again in place. Any other file that it uses reloads it.
//   - A directory that changed as a whole reloads the pages that show or use something
//     in it.
//   - A file that was written again with the same content has not changed. Content is
//     compared by a digest, for files of up to 8 MiB, else by size and times. Where a
//     page may have got something else in between, or within 10 ms of a write, it is
//     told all the same.
//
// A page that names more than 4096 files, or 512 KiB of names, counts as using
// everything. So does one that names more than 256 when all pages together name more
// than 131,072.
//
// Pages with livereload-js or a browser extension do not report what they use:
//
//   - An HTML file (.html .htm .xhtml) reloads the pages that show it.
//   - A directory that changed as a whole reloads every page.
//   - A style sheet (.css), and an image (.gif .jpeg .jpg .png), is fetched again in
//     place by every page; more than 32 at once, or names that are not UTF-8, reload it.
//   - Other files that pages load reload every page: scripts, data, fonts, media, .wasm,
//     .webmanifest, and other images (.svg .webp .avif .ico).
//   - Anything else reloads the pages that show it.
//
// Every HTML file affects the pages of another server that may listen, those of Options.Proxies,
// file: pages from outside the root, and all pages when no files are served. Hidden files affect no page.
//
// A file that a page uses and that is gone or unreadable is an error. Our client shows
// it until it is over, and only then does the page reload. A file that never was there
// is no error. SetError shows other errors in the same way, with the place in a file, which
// Options.Editor makes a link for the owner.
//
// # Sync
//
// With Options.Sync, what the reader of a page does to it is relayed to the other pages of
// this server with the same path and query, and done to them by our client: clicks,
// scrolling, and what is entered into fields, except for passwords and cards. It is
// relayed as it is, up to 8 KiB of an event and 200 events a second of all pages together.
// A page with another client, or of another server, takes no part.
//
// # Catching up
//
// A page whose websocket opens late, or again, is told what it missed of the last 256
// changes of at most 1024 files each. After more changes, or a restart of the server,
// digests of the files that it used decide whether it reloads. A page without digests
// reloads if one of its files changed after it was served, by ctime, or if the clock
// was set back. A page does not reload twice for the same reason.
//
// A page that does not report what it uses catches up only while the same Server goes
// on.
//
// # Symbolic links
//
// A link is followed below the root, if it is relative. A change of what a path leads
// through, a link on the way or the file in the end, is a change of the path's file. A
// link that leads out is answered as what is not there; its owner is shown where it leads,
// and the log names it once. Pages that use it say so. With Options.FollowSymlinks it is
// followed, and changes of what it leads to are to be reported by paths below the link.
//
// # The websocket
//
// /livereload speaks the LiveReload protocol, official-7. A client that offers
// https://github.com/execlog/execlogd/protocol-1 as well is answered in that protocol,
// which the package httpd/internal/livereload describes. Unknown commands are ignored;
// what is not the protocol closes the connection.
//
// Updates that a page has not taken are merged. A page that does not read delays no
// other; it is disconnected after ten seconds, and after fifteen if it does not answer a
// ping. At rest a page costs one goroutine and less than 10 KiB.
//
// Of one page 1 MiB of messages is read at once, and then 16 KiB a second. Nothing that
// comes over the websocket runs a command or reads a file for the page. Files that a
// page of this server names are opened, to see whether they can be, and compared.
//
// # The status page
//
// /.execlogd/ shows which pages are open, what changed lately and which pages that
// affected, the last 20 runs (Options.Runs) with the last 4 KiB of output, what is
// watched (Options.Watches), and errors. A timeline shows the five minutes that end with
// the last of the changes, runs and reloads: at most the 50 last changes and 60 last
// runs. A filter narrows the lists to what has all of its words; it is kept in the
// fragment of the URL, which a server is not sent. The page is kept up to date by
// server-sent events, at most four a second, for 32 of the owner's pages and 32 of all
// others together. Queries of pages' URLs are not shown. The page is not there without
// live reload.
//
// Only the owner is shown the places of directories, the titles of pages, their browsers
// and the addresses of those, and the commands, paths, output and reasons of failure of
// runs. Errors are shown to all, but for links to their places and lines of files. The
// owner has opened /.execlogd/?token=TOKEN with Options.Token, which leaves a cookie, or
// asks directly: from this machine, by a program of the server's user or of root, with a
// loopback name in Host, by HTTP/1.1, and without a header that browsers do not send by
// themselves, as proxies do. A program of these users that forwards bytes as they are
// (ssh -R, socat) is taken for the owner.
//
// # Access control
//
// Host must be a loopback name or address, an address that the listener is bound to
// (any of the machine's, for a wildcard), the machine's name (also its first label alone,
// or with .local, as multicast DNS has it), or in Options.AllowHosts.
// If a proxy on this machine puts another name into Host, the first of X-Forwarded-Host
// is the page's server, if it would be allowed as Host.
//
// A page may listen for changes if it is of this server or its origin is in
// Options.AllowOrigins. If the request comes from this machine with no sign of a proxy,
// a loopback page at a loopback server may listen as well, and so may a file: page where
// nothing is served but live reload. Programs that are no browsers send no Origin and may listen.
//
// Pages of other sites may link to files but not embed them
// (Cross-Origin-Resource-Policy). For a browser, all ports of a host are one site; pages
// of other loopback names and of Options.AllowOrigins may embed files too. Options.CORS
// says whose scripts may read files; nothing else is shared with them. /livereload.js may
// be loaded from anywhere.
package httpd
