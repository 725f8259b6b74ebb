// Package livereload keeps the pages that are open in browsers up to date with the
// files that they show and use.
//
// A [Hub] is told which files changed. It looks at those that some page uses, decides
// what the change means to each page, and leaves an update in the page's mailbox. A
// page is connected by a websocket that speaks the LiveReload protocol (official-7), or
// beside it the protocol of client.js, in which a page reports what it uses. A page that
// connects later, or again, catches up with what it has missed.
//
// The package knows no server. Files are seen by a function; the server hands over the
// requests of pages that may listen, and puts [PageToken.Element] into its pages.
//
// # The extended protocol
//
// A client that offers https://github.com/execlog/execlogd/protocol-1 beside official-7
// in its hello is answered with both, and sent messages that no other client is ever
// sent. FILE is a URL path below the directory of livereload.js, with %XX for each byte
// that is not a letter, a digit or one of /-._~ .
//
//	> {"command":"info","url":URL,"path":FILE,"seen":CURSOR,"digest":DIGEST,"uses":[FILE,...]}
//	    On each connection. Cursor and digest are as the server sent them last; the
//	    first cursor is in the script's URL, and at first there is no digest. Uses are
//	    all files that are known, in the order in which they were named. "all":true
//	    says that they are too many for a message, which has 64 KiB. Without path the
//	    page is not of this server.
//	> {"command":"uses","uses":[FILE,...],"age":MS}
//	    Further uses. The first of them began to load at most so long ago (default 2 s).
//	> {"command":"url","url":URL,"path":FILE}
//	    The page shows another URL without having been loaded.
//	< {"command":"at","seen":CURSOR,"digest":DIGEST}
//	    The answer to each of these, if there is no change.
//	> {"command":"title","title":TEXT}
//	    The title of the page, after each info and when it has changed. There is no answer.
//	< {"command":"change","seen":CURSOR,"reload":BOOL,"files":[FILE,...],"digest":DIGEST}
//	    Load the page again, for these files among others, or fetch these files again in
//	    place, in this order. After a reload no change follows until the page sends info.
//	< {"command":"errors","errors":[{"title":TEXT,"place":TEXT,"href":URL,"source":[TEXT,...],
//	    "first":N,"line":N,"output":[[TEXT,STYLE],...],"text":TEXT},...]}
//	    All errors of the page, in place of those before. What there is nothing of is left
//	    out. The place may be a link; source are lines of its file, beginning with number
//	    first; the output is in pieces of one style, as package ansi names styles. Only the
//	    owner is told href and source.
//	> {"command":"sync","event":{...}}
//	< {"command":"sync","event":{...}}
//	    What the reader of the page did, and what another one did to the same page
//	    elsewhere. It is relayed where Config.Sync is on. sync.js says what there is.
//	< {"command":"tried","files":[FILE,...]}
//	    Files that the page's scripts asked for and did not get. A page that adds them
//	    to its uses names them.
package livereload
