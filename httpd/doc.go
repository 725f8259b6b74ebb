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
// The script finds out what the page uses from the browser's resource timing
// and from the document: elements, srcset, style sheets as far as they can be
// read, what is in open shadow roots, and frames that have no script of ours.
// Of a fetch that failed, and whose answer nobody read, the browser does not
// tell; there the server does, who knows the page by the Referer, unless the
// page's policy is to send none. Not known are the files that workers load.
//
// Style sheets are swapped by a copy that replaces the old one when it has
// loaded, images when the new one has; what a script has fetched, or nothing in
// the document refers to, reloads the page. What changes while files are being
// fetched makes another round, so that the last save wins. A reload gives back
// scroll positions, the focus with its selection, and what was typed or chosen,
// but passwords, files and credit cards, through sessionStorage; the reader's
// next click, key or scroll ends that. Without storage the page is just
// reloaded. A hidden page waits until it is seen, and does not look for a server
// that is gone; a visible one looks twice a second, which the browser's console
// notes. At rest a page has no timer.
//
// # Which page a change concerns
//
// Refresh makes one decision for each page out of the set of changed files,
// and a page reload beats style sheets beat images.
//
// A page of this server that has our client says what it uses: all that it
// loaded, refers to or tried to load, also in vain. A change concerns it when it
// shows the file or uses it, and no other change does. A file that was written
// again, replaced or touched and has the same content as before has not changed:
// generators write all that they make, and pages stay as they are but for what
// differs. Contents are compared by a digest, of files of up to 8 MiB; of a larger
// one the size and times decide. Where a page may have got something else, because
// it was loaded or fetched the file in between, or within a tick of the kernel's
// clock (10 ms) after a write, it is told all the same. A page that has no badge,
// as one that links the script itself, is taken to have what is there when it
// connects, unless that is still to be told. What it shows reloads it;
// of what else it uses, style sheets and images (.gif .jpg .jpeg .png .webp
// .avif .svg .apng .bmp .ico) are fetched again in place, and anything else
// reloads it. A directory that changed as a whole, by a rename, reloads the pages
// that show or use something in it. A file is shown at more than one path:
// a.html at /a.html and /a; a/index.html at /a/, /a/index.html and /a. Queries and
// fragments do not matter. 404.html is shown at its own address and by every page
// that was answered with it. A page that names more than 4096 files, or 512 KiB
// of them, counts as using everything. So does one that names more than 256 while
// all pages together name more than 131,072.
//
// Other pages, of livereload-js and the browser extensions, get the origin's
// rule:
//
//   - An HTML file (.html .htm .xhtml) concerns the pages that show it.
//   - A directory that changed as a whole reloads every page.
//   - A style sheet (.css) concerns every page, and is fetched again in place.
//     So are images (.gif .jpeg .jpg .png). More than 32 of them at once, or
//     names that are not UTF-8, reload the page.
//   - Whatever else pages load reloads every page: scripts, modules, data
//     (.json .xml .csv .txt .md ...), fonts, media, .wasm, .webmanifest, and
//     images that livereload-js does not swap or that are used in ways it does
//     not know (.svg .webp .avif .ico).
//   - Anything else (source maps, logs, databases, unknown kinds, names without
//     an extension) concerns the pages that show the file itself, or a note
//     that it is missing, and disturbs nobody else.
//
// A page of another server (one that nginx serves next door) may show any
// file, so that every HTML file concerns it, whatever its client; the same goes
// for a file: page that is not beneath the root, and for all pages when no files
// are served. Hidden files concern nobody.
//
// Recheck is for names: a directory's list is loaded again when one in it comes
// or goes, whoever its client is; it carries a sum of the names, so that none is
// missed. A file that a page uses and that is gone, or
// cannot be read, is an error, which our client shows until it is over; the page
// is not loaded again into an error, and is when that is over. What never was
// there is no error. SetError shows errors of others in the same way, such as
// the output of a build.
//
// # Nothing is missed
//
// Changes are numbered. A page carries the number that it was served at, and our
// client says on each connection up to which number the page was told, so that a
// page whose socket was not open yet, or that was away, hears exactly what
// concerned it meanwhile: of the last 256 changes with at most 1024 files each.
// Where the numbers do not tell, after a restart or after more changes, a digest
// does, which the page was given with its last message: of the content of every
// file that it used, or of a large one the inode, time of modification and size.
// Where they are the same,
// nothing happened; else it is loaded again. A page that was served and never
// connected has no digest, and is loaded again when a file that it used changed
// after it was served, by the time of its last status change, or when the clock
// was set back since. A page that was loaded again carries a number of the server
// that it has met, so that there is no loop. One that carries the same as before
// has it written in its file, as when it was saved from a browser, and counts as
// new.
//
// Not promised: what changes while a page is not connected that does not say
// what it uses, unless the same server goes on. A page that is reached through a
// symbolic link is known by the link's path, so that a change where the link
// leads does not concern it.
//
// # Changing options
//
// Change replaces the options of a Server that serves: each request is answered by
// those of the moment when it came, and no connection is lost. To listen elsewhere,
// call Serve for another listener and close the first one: its Serve returns when its
// last connection is over. Not promised: an answer to a connection that the kernel has
// accepted and Serve has not.
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
// of net/http: the handler returns when the websocket is open. What is not
// understood is ignored, what is not the protocol ends the connection with the
// status that says so.
//
// A page that says much does not delay the others. Of what comes over one socket,
// 1 MiB is read at once, and then 16 KiB a second; the rest waits. Each message
// counts as 256 bytes more than it has, and each file that has changed while a page
// was away, and has to be compared with those of the page, as one byte more.
// Messages of more than 8 KiB, of all pages, are heard one after the other, and
// shorter ones meanwhile. Nothing that
// comes over the socket runs anything, or reads a file: those that a page says
// it uses are opened as if it had asked for them, to see whether they can be,
// and only for pages of this server (by Origin).
//
// A client that offers https://github.com/execlog/execlogd/protocol-1 beside
// official-7 is answered with both, and spoken to in messages that no other
// client is ever sent. Files are URL paths below livereload.js's directory, with
// %XX for each byte that is not a letter, a digit or one of /-._~ .
//
//	> {"command":"info","url":URL,"path":FILE,"seen":POSITION,"digest":DIGEST,"uses":[FILE,...]}
//	    On each connection. Positions and digests are as the server gave them,
//	    the first position in the script's URL, and no digest at first. Uses are
//	    all that are known, in the order in which they were named; "all":true
//	    says that they are too many for a frame, which has 64 KiB. Without path
//	    the page is not of this server.
//	> {"command":"uses","uses":[FILE,...],"age":MS}
//	    Further uses, the first of which began to load at most so long ago
//	    (2 s where that is not said).
//	> {"command":"url","url":URL,"path":FILE}
//	    The page shows another URL without having been loaded.
//	< {"command":"at","seen":POSITION,"digest":DIGEST}
//	    The answer to each of those, when there is no change to tell.
//	< {"command":"change","seen":POSITION,"digest":DIGEST,"reload":BOOL,"files":[FILE,...]}
//	    Load the page again, for some of the reasons in files, or fetch these
//	    files again in place, in this order. Behind a reload no change is told
//	    until the page has sent info.
//	< {"command":"errors","errors":[{"title":TEXT,"text":TEXT},...]}
//	    All errors of the page, in place of those before.
//	< {"command":"tried","files":[FILE,...]}
//	    Files that the page's script asked for and did not get. A page that
//	    counts them among its uses says so.
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
