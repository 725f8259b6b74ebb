package httpd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Proxy hands on the requests for a part of the site to another server, mostly an
// application.
type Proxy struct {
	// Path is that path with all below it; "/" is the whole site. What is handed on has
	// the same path. Of several that match the longest counts.
	Path string

	// Upstream is the other server: "127.0.0.1:3000", the same as a URL of http or https,
	// or "unix:" and the absolute path of a socket.
	Upstream string
}

// CheckProxy says what is wrong with an entry of Options.Proxies, as New does.
func CheckProxy(p Proxy) error {
	_, err := parseProxy(p)
	return err
}

// Time limits for upstreams.
const (
	dialTimeout   = 5 * time.Second
	answerTimeout = 2 * time.Minute // for the header of an answer

	// A connection is idle for less time than applications let it be: Node.js five seconds,
	// Gunicorn two. What is sent just as the upstream closes it would be lost.
	upstreamIdle = time.Second
)

// An upstream is a server that requests are handed on to.
type upstream struct {
	prefix           string // of paths; ends with a slash
	name             string // as Proxy.Upstream has it
	scheme, host     string // of URLs
	network, address string // where it listens
	local            bool   // it is on this machine

	transport *http.Transport
	awaited   atomic.Bool // a request has waited for it in vain, and it has not been there since
}

// parseProxy returns the upstream of a Proxy, without a transport.
func parseProxy(p Proxy) (*upstream, error) {
	if p.Path == "" || p.Path[0] != '/' || path.Clean(p.Path) != p.Path && path.Clean(p.Path)+"/" != p.Path || strings.ContainsAny(p.Path, "?#%*") {
		return nil, fmt.Errorf("path %q: want one as in /api, decoded and without wildcards", p.Path)
	}
	u := &upstream{prefix: strings.TrimSuffix(p.Path, "/") + "/", name: p.Upstream}
	if socket, ok := strings.CutPrefix(p.Upstream, "unix:"); ok {
		if !path.IsAbs(socket) {
			return nil, fmt.Errorf("upstream %q: want the absolute path of a socket, as in unix:/run/app.sock", p.Upstream)
		}
		u.scheme, u.host, u.network, u.address, u.local = "http", "localhost", "unix", socket, true
		return u, nil
	}

	text := p.Upstream
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	to, err := url.Parse(text)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" {
		return nil, fmt.Errorf("upstream %q: want one as in 127.0.0.1:3000, https://localhost:3000 or unix:/run/app.sock", p.Upstream)
	}
	host, ok := hostname(to.Host)
	bare := url.URL{Scheme: to.Scheme, Host: to.Host}
	switch {
	case !ok || text != p.Upstream && to.Port() == "":
		return nil, fmt.Errorf("upstream %q: want a host with its port, as in 127.0.0.1:3000", p.Upstream)
	case strings.TrimSuffix(text, "/") != bare.String():
		return nil, fmt.Errorf("upstream %q: want a host and a port alone, as what is handed on has the path of the request", p.Upstream)
	}
	u.scheme, u.host, u.network, u.local = to.Scheme, to.Host, "tcp", isLoopback(host)
	name := to.Hostname()
	if strings.HasSuffix(host, ".localhost") {
		name = "localhost" // DNS may say anything of the others
	}
	u.address = net.JoinHostPort(name, cmp.Or(to.Port(), impliedPorts[to.Scheme][1:]))
	return u, nil
}

// newUpstreams returns the upstreams of the options, those of the longest paths first.
func (s *handler) newUpstreams() (all []*upstream, err error) {
	for _, p := range s.opts.Proxies {
		u, err := parseProxy(p)
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		u.transport = &http.Transport{
			DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dialUpstream(ctx, u) },
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: answerTimeout,
			ExpectContinueTimeout: time.Second,
			IdleConnTimeout:       upstreamIdle,
			MaxIdleConnsPerHost:   64,
			DisableCompression:    true, // what the browser takes counts

			// There is nobody between us and a server on this machine, and its certificate is
			// seldom one that the system knows.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: u.local},
		}
		all = append(all, u)
	}
	slices.SortStableFunc(all, func(a, b *upstream) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	return all, nil
}

// closeUpstreams closes connections that no request uses. Others are closed when they have
// been idle for a while.
func (s *handler) closeUpstreams() {
	for _, u := range s.upstreams {
		u.transport.CloseIdleConnections()
	}
}

// upstreamOf returns the upstream of a URL path; nil if its requests are answered here. A path
// that leaves a prefix by dots is not below it: the upstream may follow them.
func (s *handler) upstreamOf(urlPath string) *upstream {
	if s.isOurs(urlPath) {
		return nil
	}
	for _, u := range s.upstreams {
		if strings.HasPrefix(urlPath+"/", u.prefix) && strings.HasPrefix(path.Clean(urlPath)+"/", u.prefix) {
			return u
		}
	}
	return nil
}

// upstreamFor is upstreamOf for a request.
func (s *handler) upstreamFor(r *http.Request) *upstream {
	if isStatusOnly(r) {
		return nil
	}
	return s.upstreamOf(r.URL.Path)
}

// dialUpstream connects to an upstream. An application that starts again is not there for a
// moment, so it is waited for as a file is that is made again.
func (s *handler) dialUpstream(ctx context.Context, u *upstream) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, u.network, u.address)
	if err == nil {
		u.awaited.Store(false)
		return conn, nil
	}
	if !isAway(err) || u.awaited.Load() {
		return nil, err
	}
	defer s.rebuilds.waiting.Add(-1)
	if s.rebuilds.waiting.Add(1) > maxRebuildWaiting {
		return nil, err
	}

	late := time.After(s.timeouts.upstream)
	look := time.NewTicker(rebuildInterval)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-late:
			u.awaited.Store(true)
			return nil, err
		case <-s.replaced.Done():
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
		if conn, err = dialer.DialContext(ctx, u.network, u.address); err == nil || !isAway(err) {
			return conn, err
		}
	}
}

// isAway reports whether the error of connecting says that nobody listens.
func isAway(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// A proxied is a request that is handed on.
type proxied struct {
	*handler
	to     *upstream
	w      http.ResponseWriter
	in     *http.Request
	isLast bool            // no request follows on the connection
	body   *pacedBody      // nil if there is none
	ctx    context.Context // of what is handed on
	cancel context.CancelFunc
	ends   []func() bool // of what waits for other contexts

	listener *listenerInfo // nil for that of another http.Server
}

// after calls f when another context ends, if the request has not ended by then.
func (p *proxied) after(ctx context.Context, f func()) {
	p.ends = append(p.ends, context.AfterFunc(ctx, f))
}

// end is called when the request has ended.
func (p *proxied) end() {
	for _, end := range p.ends {
		end()
	}
	p.cancel()
}

// isStopping reports whether Serve is to end, or the Server if that is for another http.Server.
func (p *proxied) isStopping() bool {
	if p.listener == nil {
		return p.closing.Err() != nil
	}
	return p.listener.stopping.Err() != nil
}

// serveProxied hands a request on to an upstream, and the answer back.
func (s *handler) serveProxied(w http.ResponseWriter, r *http.Request, to *upstream) {
	switch {
	case !mayPass(r):
		s.boundBody(w, r)
		s.refuseOrigin(w, r, "change anything")
		return
	case s.hasPassed(r):
		s.boundBody(w, r)
		refuse(w, http.StatusLoopDetected, "this request has been here before: the proxy leads to itself")
		return
	}
	s.noteUse(r)
	h := w.Header()
	h.Del("X-Content-Type-Options") // which is the upstream's to set

	p := &proxied{handler: s, to: to, w: w, in: r, isLast: h.Get("Connection") == "close"}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(r.Context()))
	defer p.end()
	p.after(r.Context(), func() {
		if !p.isStopping() { // else it has the grace period
			p.cancel()
		}
	})
	if p.listener = listenerOf(p.ctx); p.listener != nil {
		p.listener.proxied.Add() // it may become a websocket, which net/http does not wait for
		defer p.listener.proxied.Done()
		p.after(p.listener.cut, p.cancel)
	}
	r = r.WithContext(p.ctx)
	if r.ContentLength != 0 {
		p.body = &pacedBody{ReadCloser: r.Body, conn: http.NewResponseController(w), timeout: s.timeouts.header}
		defer p.body.end(s.timeouts.body)
		r.Body = p.body
	}

	passing := httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      to.transport,
		ModifyResponse: p.modify,
		ErrorHandler:   p.serveError,
		ErrorLog:       log.New(errorLog{s.Server}, "", 0),
		FlushInterval:  -1, // each part at once, as it may be an event
	}
	passing.ServeHTTP(w, r)
}

// mayPass reports whether a request may be handed on. A page of any site can have a browser
// send forms, and open websockets, with the cookies of this one. Sec-Fetch-Site is needed
// for forms of pages that send no Referer: their Origin is null.
func mayPass(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		if r.Header.Get("Upgrade") == "" {
			return true
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "same-origin" || site == "none" {
		return true
	}
	from := accessOf(r).origin
	return from == ownOrigin || from == allowedOrigin || from == noOrigin
}

// hasPassed reports whether this Server has handed a request on before.
func (s *Server) hasPassed(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Via"], func(line string) bool { return strings.Contains(line, s.via) })
}

// rewrite makes of a request what is handed on.
func (p *proxied) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	out.URL.Scheme, out.URL.Host = p.to.scheme, p.to.host
	out.URL.RawQuery = in.URL.RawQuery // with what ReverseProxy cannot parse

	// An application is known by the name that its browsers use, so that its links and its
	// checks of Origin are right. Another machine may serve many sites.
	if out.Host = in.Host; !p.to.local {
		out.Host = p.to.host
	}
	fromProxy := isLocal(in)
	dropForwarded(out.Header, fromProxy)
	if fromProxy {
		out.Header["X-Forwarded-For"] = in.Header["X-Forwarded-For"]
	}
	said := out.Header["X-Forwarded-For"]
	pr.SetXForwarded()
	if out.Header["X-Forwarded-For"] == nil && said != nil {
		out.Header["X-Forwarded-For"] = said // to which the proxy at a unix socket, without an address, adds nothing
	}
	out.Header.Set("X-Forwarded-Host", accessOf(in).reached)
	if fromProxy && in.Header.Get("X-Forwarded-Proto") == "https" {
		out.Header.Set("X-Forwarded-Proto", "https")
	}
	out.Header.Add("Via", fmt.Sprintf("%d.%d %s", in.ProtoMajor, in.ProtoMinor, p.via))

	// By another protocol a client could ask for what is not handed on.
	if !strings.EqualFold(out.Header.Get("Upgrade"), "websocket") {
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
	}

	// A page gets the script, so it must not be compressed. What the browser has is not what
	// the upstream would compare.
	if p.mayTakeScript() {
		out.Header.Set("Accept-Encoding", "identity")
		for _, name := range conditionHeaders {
			out.Header.Del(name)
		}
	}
}

// dropForwarded takes out of a request what proxies say of a client, unless one may have said
// it. To many applications an underscore in a name is a hyphen.
func dropForwarded(h http.Header, fromProxy bool) {
	for name := range h {
		plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		isForwarded := plain == "forwarded" || plain == "x-real-ip" || strings.HasPrefix(plain, "x-forwarded-")
		if isForwarded && (!fromProxy || strings.Contains(name, "_")) {
			delete(h, name)
		}
	}
}

// modify makes of the answer of an upstream what is handed back.
func (p *proxied) modify(resp *http.Response) error {
	p.closeAfter()
	h := resp.Header
	p.to.makeRelative(h)
	p.to.shareCookies(h)
	h.Del("Alt-Svc") // other addresses of the upstream
	if p.live {
		h.Del("Strict-Transport-Security") // see setHeaders
		if h.Get("Cache-Control") == "" && h.Get("Expires") == "" {
			h.Set("Cache-Control", "no-cache") // else browsers guess how long it is good
		}
	}

	isStream := strings.HasPrefix(h.Get("Content-Type"), "text/event-stream")
	isSocket := resp.StatusCode == http.StatusSwitchingProtocols
	if isStream || isSocket {
		p.endWithServe(isSocket)
	}
	if isSocket || !isPage(h) || !p.live || p.opts.NoInject {
		return nil
	}
	addVary(h, "Sec-Fetch-Dest")
	if p.mayTakeScript() {
		p.addScript(resp)
	}
	return nil
}

// closeAfter is called when there is an answer. If the body of the request is not there by
// then, it may never be, and the connection is of no use after it. ReverseProxy clears the
// header with each 1xx answer.
func (p *proxied) closeAfter() {
	if p.isLast || p.body != nil && !p.body.isWhole() {
		p.w.Header().Set("Connection", "close")
	}
}

// endWithServe has a stream without an end not keep Serve from ending. That of a websocket
// is counted as a connection, which net/http does no longer.
func (p *proxied) endWithServe(isSocket bool) {
	p.after(p.closing, p.cancel) // of a site that is taken away the listener goes on
	if p.listener == nil {
		return
	}
	p.after(p.listener.stopping, p.cancel)
	if isSocket {
		addr := p.ctx.Value(connKey{}).(net.Conn).RemoteAddr()
		p.listener.conns.add(addr)
		context.AfterFunc(p.ctx, func() { p.listener.conns.remove(addr) })
	}
}

// makeRelative makes redirects that name the upstream lead to this site.
func (u *upstream) makeRelative(h http.Header) {
	for _, name := range []string{"Location", "Content-Location"} {
		to, err := url.Parse(h.Get(name))
		if err != nil || to.Host == "" || !u.isNamedBy(to) {
			continue
		}
		to.Scheme, to.Host, to.User = "", "", nil
		if to.Path == "" {
			to.Path = "/"
		}
		// Two slashes would begin a host.
		if text := to.String(); strings.HasPrefix(to.Path, "//") {
			h.Set(name, "/."+text[strings.Index(text, to.EscapedPath()):])
		} else {
			h.Set(name, text)
		}
	}
}

// isNamedBy reports whether a URL is one of the upstream. One on this machine may call
// itself by any name of the loopback interface.
func (u *upstream) isNamedBy(to *url.URL) bool {
	if to.Scheme != "" && to.Scheme != u.scheme {
		return false
	}
	if u.network == "unix" {
		return false
	}
	if sameHost(u.scheme, to.Host, u.host) {
		return true
	}
	host, ok := hostname(to.Host)
	port := cmp.Or(to.Port(), impliedPorts[u.scheme][1:])
	return ok && u.local && isLoopback(host) && strings.HasSuffix(u.address, ":"+port)
}

// shareCookies takes the domain out of cookies that are for that of the upstream, as browsers
// refuse those of other sites.
func (u *upstream) shareCookies(h http.Header) {
	own, _ := hostname(u.host)
	for i, line := range h["Set-Cookie"] {
		attributes := strings.Split(line, ";")
		h["Set-Cookie"][i] = strings.Join(slices.DeleteFunc(attributes, func(a string) bool {
			name, value, _ := strings.Cut(a, "=")
			domain := strings.ToLower(strings.TrimPrefix(strings.TrimSpace(value), "."))
			return strings.EqualFold(strings.TrimSpace(name), "domain") && (own == domain || strings.HasSuffix(own, "."+domain))
		}), ";")
	}
}

// A missingUpstream is what the page about an upstream that does not answer shows.
type missingUpstream struct {
	Name, Reason string // "" if the reader may not know
	Again        bool   // the page loads again after a while
}

// serveError answers for an upstream that does not.
func (p *proxied) serveError(w http.ResponseWriter, r *http.Request, err error) {
	p.closeAfter()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	timedOut, _ := errors.AsType[net.Error](err)
	switch {
	case p.body != nil && p.body.isLate():
		refuse(w, http.StatusRequestTimeout, "the body of the request did not come")
		return
	case p.isStopping():
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
		return
	case p.ctx.Err() != nil:
		panic(http.ErrAbortHandler) // nobody reads the answer
	}

	code, why := http.StatusBadGateway, "the application does not answer"
	if timedOut != nil && timedOut.Timeout() {
		code, why = http.StatusGatewayTimeout, "the application has not answered in time"
	}
	p.logLimited(upstreamFailed, "upstream", p.to.name, "path", clip(p.in.URL.Path), "err", err)
	h.Set("Cache-Control", "no-store")
	if !isNavigation(p.in) {
		refuse(w, code, why)
		return
	}
	about := missingUpstream{Again: p.in.Method == http.MethodGet}
	if p.isOwner(p.in) {
		about.Name, about.Reason = p.to.name, err.Error()
	}
	token := tokenOf(p.in)
	token.Failed = code
	p.serveOwnPage(w, p.in, code, token, "upstream", about)
}

// A pacedBody is the body of a request that is handed on. The connection is given up when
// nothing of it comes for a while.
type pacedBody struct {
	io.ReadCloser
	conn    *http.ResponseController
	timeout time.Duration

	mu       sync.Mutex
	deadline time.Time // of what is read now; zero for none
	whole    bool      // it has been read
	ended    bool      // the answer has ended, and the deadline is no longer ours
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	b.setDeadline(time.Now().Add(b.timeout))
	n, err := b.ReadCloser.Read(p)
	if err == nil || err == io.EOF {
		b.setDeadline(time.Time{})
	}
	if err == io.EOF {
		b.mu.Lock()
		b.whole = true
		b.mu.Unlock()
	}
	return n, err
}

func (b *pacedBody) setDeadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.deadline = t
		_ = b.conn.SetReadDeadline(t)
	}
}

// isLate reports whether the body was given up. For net/http the client has gone then.
func (b *pacedBody) isLate() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.deadline.IsZero() && time.Now().After(b.deadline)
}

// isWhole reports whether the whole body was read. An upstream may answer before it has it all,
// and read on.
func (b *pacedBody) isWhole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole
}

// end is called when the answer has ended. Nobody waits longer than for a time for what is left
// of the body, and what still reads it sets no deadline from now on.
func (b *pacedBody) end(timeout time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	if !b.whole {
		_ = b.conn.SetReadDeadline(time.Now().Add(timeout))
	}
}
