// The browser's half of execlogd: keeps a page up to date with its files.
//
// It tells the server which files the page uses, is told which of them
// changed, and fetches those again in place, or loads the page again and gives
// back what its reader did to it. It offers a protocol of ours beside
// LiveReload's official-7, and takes the options of livereload-js in the query
// of its own URL: host, port, path, https.
//
// It is served without comments and needless space, so no string is longer
// than its line, and a comment behind code is preceded by a space. panel.js and
// worker.js are served in front of it, sync.js where sync is on, and all in a
// function of their own.
(() => {
  "use strict";

  const ours = "https://github.com/execlog/execlogd/protocol-1";
  const client = Symbol.for("execlogd.live"); // in a window that has one
  const tag = /** @type {any} */ (document.currentScript) || [...document.scripts].find(s => /livereload\.js($|\?)/.test(s.src));
  if (!tag?.src || client in self) return;

  // A base element further down moves src, and so does an application that changes the page's
  // URL before the script runs, but not where the script came from.
  const name = tag.getAttribute("src").replace(/^(\.*\/)*/, "/");
  const src = new URL(performance.getEntriesByType("resource").find(entry => entry.name.endsWith(name))?.name || tag.src);
  const home = new URL(".", src).href; // what the paths of the site are below

  // A page that was saved to disk or published elsewhere, with the script in it that the
  // server had put there for itself, which has a page token.
  if (!/^http/.test(src.protocol) || (src.search.includes("=livereload?") && src.origin !== location.origin)) return;
  /** @type {any} */ (self)[client] = true;

  const { host, port, path, https } = Object.fromEntries(src.searchParams);
  const { pathname, search } = new URL(path || "livereload", home);
  // A blank port is the script's.
  const server = new URL((https === "1" ? "wss:" : src.protocol.replace("http", "ws")) + "//" + (host || src.hostname) + ":" + (+port || src.port) + pathname + search).href;

  /** A URL's path as both sides write it: each byte but A-Z a-z 0-9 - . _ ~ / as %XX. @param {string} path */
  const canonical = path => escape(unescape(path)).replace(/[@*+]|%7E/g, s => (s[1] ? "~" : "%" + s.charCodeAt(0).toString(16).toUpperCase()));

  /** A whole URL without query and fragment. @param {string} url */
  const plain = url => url.split(/[?#]/)[0];

  /** The canonical path of a whole URL, "" for one that is not of the site. @param {string} url */
  const pathOf = url => (url.startsWith(home) ? canonical(plain(url).slice(home.length - 1)) : "");

  const panel = errorPanel();
  const ownURL = plain(src.href);
  const placed = pathOf(location.href) !== ""; // the page is one of the site

  // The connection.

  const soon = 500; // ms until the next probe for a server that is gone
  /** @type {WebSocket | null} */
  let socket = null;
  let agreed = false; // on our protocol
  let met = false; // the server has spoken it before
  let blocked = false; // by the page's policy
  let probing = true;
  let refusals = 0; // in a row, by a server that is there
  let delay = soon;
  let timer = 0; // until the next probe, or the deadline of an answer
  let toldURL = "";
  let toldUses = 0; // how many
  let toldTitle = "";
  let cursor = {}; // that the server sent last, with a digest; the first is in the socket's URL

  function connect() {
    clearTimeout(timer);
    if (socket || blocked) return;
    try {
      socket = new (socketClass())(server);
    } catch {
      return giveUp();
    }
    socket.onopen = () => say({ command: "hello", protocols: ["http://livereload.com/protocols/official-7", ours], ver: "execlogd" });
    socket.onmessage = ({ data }) => hear(JSON.parse(data));
    socket.onclose = () => {
      socket = null;
      dropFrame();
      framed &&= met; // others may refuse a frame
      refusals++;
      timer = setTimeout(probe, delay);
      delay = Math.min(2 * delay, 9999); // where it is there, and refuses
    };
  }

  // Firefox keeps no page for the back button that has a socket when it begins to
  // go, even if that is closed at once. But the socket of a frame goes with it.
  let framed = /Firefox/.test(navigator.userAgent);
  /** @type {any} */
  let frame = null; // the element around it, which hides it from the page

  /** The class of a socket, in a frame of its own where that is needed. @returns {typeof WebSocket} */
  function socketClass() {
    if (!framed) return WebSocket;
    try {
      const own = (frame = make("div", {}));
      const inner = make("iframe", {});
      own.style.setProperty("display", "none", "important");
      own.attachShadow({ mode: "closed" }).append(inner);
      document.documentElement.append(own);
      inner.contentWindow.addEventListener("securitypolicyviolation", violated);
      inner.contentWindow.addEventListener("pagehide", () => {
        if (frame !== own) return;
        framed = false; // the page has removed it
        leave();
      });
      return inner.contentWindow.WebSocket;
    } catch {
      framed = false;
      dropFrame();
      return WebSocket;
    }
  }

  function dropFrame() {
    const old = frame;
    frame = null;
    old?.remove();
  }

  /**
   * Opens a socket if there is a server. Chromium lets a socket wait the
   * longer the more have failed, but not a fetch. A hidden page waits until it
   * is seen.
   */
  async function probe() {
    if (document.hidden) return;
    const { ok, type } = await fetch(ownURL, { method: "HEAD", mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(3000) }).catch(Response.error);
    if (document.hidden || socket || refusals > 9) return;
    if (ok || type === "opaque" || !probing) return connect();
    refusals = 0;
    delay = soon;
    timer = setTimeout(probe, delay);
  }

  /** The page is visible, or the network is another: checks the connection. @param {any} event */
  function wake({ persisted }) {
    if (document.hidden || persisted === false) return;
    settle();
    delay = soon;
    refusals = 0;
    if (!socket) return connect();
    if (!agreed) return;
    say({ command: "uses", uses: [] });
    clearTimeout(timer);
    timer = setTimeout(() => (disconnect(), connect()), 3000);
  }

  /** Closes the socket; one that is not open yet later, which no console reports. */
  function disconnect() {
    clearTimeout(timer);
    const old = socket;
    socket = null;
    agreed = false;
    if (!old) return dropFrame(); // of a socket that could not be made
    old.onclose = old.onmessage = null;
    if (frame) dropFrame();
    else if (old.readyState) old.close();
    else old.onopen = () => old.close();
  }

  /**
   * Closes the socket of a page that is about to go, and opens it again where it
   * stays after all. A page with an open socket is not kept for the back button, and
   * one whose socket is still closing when it is kept says so in the console.
   */
  function leave() {
    disconnect();
    timer = setTimeout(wake, 3000, {});
  }

  /** @param {any} violation */
  function violated({ blockedURI, disposition }) {
    if (disposition !== "enforce" || blocked) return;
    if (blockedURI === ownURL) probing = false;
    if (/^ws/.test(blockedURI) && server.startsWith(blockedURI)) giveUp();
  }

  /** The page's policy forbids the socket. The server is told by another request. */
  function giveUp() {
    blocked = true;
    disconnect();
    try {
      document.documentElement.append(make("script", { nonce: tag.nonce, src: trusted("createScriptURL", ownURL + "?blocked=connect-src") }));
    } catch (error) {
      console.warn("execlogd: the page's policy forbids live reload, and to say so to the server:", error);
    }
  }

  /** @param {object} message */
  const say = message => socket?.readyState === 1 && socket.send(JSON.stringify(message));

  /** @param {any} message */
  function hear({ command, protocols, seen, digest, reload, files, errors, event, path, liveCSS }) {
    clearTimeout(timer);
    if (seen) cursor = { seen, digest };
    if (command === "hello") {
      delay = soon;
      refusals = 0;
      agreed = protocols.includes(ours);
      met ||= agreed;
      tellUses("info");
      checkWorker();
    }
    if (command === "change") change(reload, files);
    if (command === "errors") panel.show([...notices, ...(wrong = errors)]);
    if (command === "sync") mirror?.(event);
    // Missing files, of which the browser says nothing where nobody read the answer.
    if (command === "tried") files.forEach((/** @type {string} */ file) => keep(home + file.slice(1)));
    // A server that knows official-7 alone.
    if (command === "reload" && !agreed) change(liveCSS === false || !/\.(css|jpe?g|png|gif|svg|webp|avif)$/i.test(path), [canonical(encodeURIComponent(path))]);
  }

  /** @type {PageError[]} */
  let notices = []; // found by the page itself
  /** @type {PageError[]} */
  let wrong = []; // as the server has it
  let checked = false;

  /** Says once if a service worker answers for the page that is not of the site. */
  async function checkWorker() {
    if (checked || !placed) return;
    checked = true;
    const notice = await foreignWorker(home).catch(() => undefined);
    if (notice) panel.show([...(notices = [notice]), ...wrong]);
  }

  /** Says where the page is. @type {(command: string, uses?: string[]) => void} */
  function tell(command, uses) {
    toldURL = location.href;
    say({ command, plugins: {}, url: toldURL, path: pathOf(toldURL), ...cursor, uses, all: !uses });
  }

  // What the page uses.

  /**
   * Every URL that the page loaded or refers to, without query and fragment,
   * and whether a script loaded it.
   * @type {Map<string, boolean | undefined>}
   */
  const used = new Map();
  let scanTimer = 0;
  let untoldSince = Infinity; // when the first of those that are not told began to load

  /** @type {(url: string, byScript?: boolean, began?: number) => void} */
  function keep(url, byScript = false, began = performance.now()) {
    url = plain(url);
    if (!/^(http|file)/.test(url) || url === ownURL || used.size > (pathOf(url) ? 2e4 : 1e4)) return;
    if (!used.has(url)) {
      tellSoon();
      untoldSince = Math.min(untoldSince, began);
    }
    used.set(url, byScript || used.get(url));
  }

  const tellSoon = () => (scanTimer ||= setTimeout(tellUses, 200));

  /** Tells the used files of the site. No frame, which has 64 KiB, holds more: that is as good as all. */
  function tellUses(command = "uses") {
    scanTimer = 0;
    watch();
    for (const { url } of refsIn(document)) keep(url);
    const paths = [...new Set([...used.keys()].map(pathOf))].filter(Boolean);
    const uses = JSON.stringify(paths).length < 6e4 ? paths : undefined;
    const count = uses ? paths.length : 0;
    if (command === "info" || count < toldUses) tell("info", uses);
    else if (count > toldUses && agreed) say({ command, uses: paths.slice(toldUses), age: 2000 + Math.round(performance.now() - untoldSince) });
    toldUses = count;
    untoldSince = Infinity;
    const title = document.title.slice(0, 200);
    if (agreed && (command === "info" || title !== toldTitle)) say({ command: "title", title: (toldTitle = title) });
  }

  /**
   * Whether a whole URL means a file. A page of a server next door may have
   * the same files beneath another path.
   * @type {(url: string, file: string) => boolean}
   */
  function means(url, file) {
    const own = pathOf(url);
    // The files of an application may be anywhere.
    if ((own || placed) && !src.search.includes(",proxied")) return own === file;
    const path = canonical(new URL(url).pathname);
    return path.endsWith(file) || file.endsWith(path);
  }

  // What the page refers to.

  const candidates = /(?<=(?:^|,)\s*)\S*[^\s,]/g; // in a srcset

  /**
   * A reference to a file: how it is renewed in place, or the element whose
   * copy loads the style sheet again.
   * @typedef {{ url: string, renew?: (url: string) => void, owner?: any }} Reference
   */

  /** @type {(text: string, base: string) => string} */
  const resolve = (text, base) => (text && URL.canParse(text, base) ? new URL(text, base).href : "");

  /** All references in a document or shadow root. @type {(root: any) => Generator<Reference>} */
  function* refsIn(root) {
    const base = root.baseURI;
    // In a form its fields are properties, and custom elements have others of their own.
    for (const e of root.querySelectorAll(":not(form)")) {
      if (e.shadowRoot) yield* refsIn(e.shadowRoot);
      if (e.hasAttribute("style")) yield* inStyle(e.style, base);
      if (e.matches("link[rel~=stylesheet i]")) yield { url: e.href, owner: e };
      if (!e.matches("[src], [srcset], iframe, object, video, image, use, feImage, link[rel~=icon i]") || seesToItself(e)) continue;
      if (e.contentDocument) yield* refsIn(e.contentDocument);
      for (const name of ["src", "href", "xlink:href", "data", "poster"]) {
        yield { url: resolve(e.getAttribute(name), base), renew: url => e.setAttribute(name, url) };
      }
      for (const [text] of e.srcset?.matchAll?.(candidates) || []) {
        yield { url: resolve(text, base), renew: url => (e.srcset = e.srcset.replace(candidates, (/** @type {string} */ s) => (s === text ? url : s))) };
      }
    }
    for (const sheet of [...root.styleSheets, ...root.adoptedStyleSheets]) yield* inRules(sheet, base, sheet.ownerNode);
  }

  /** Whether a frame has a client, or may turn out to. @param {any} frame */
  function seesToItself({ contentWindow }) {
    try {
      const { readyState, URL } = contentWindow.document;
      return contentWindow[client] || readyState !== "complete" || URL === "about:blank";
    } catch {
      return false;
    }
  }

  /** None where another origin's are hidden, or not loaded. @type {(group: any) => any[]} */
  function rulesOf(group) {
    try {
      return [...group.cssRules];
    } catch {
      return [];
    }
  }

  /** @type {(group: any, base: string, owner: any) => Generator<Reference>} */
  function* inRules(group, base, owner) {
    base = group.href || base;
    for (const rule of rulesOf(group)) {
      if (rule.href) yield { url: resolve(rule.href, base), owner };
      if (rule.style) yield* inStyle(rule.style, base);
      yield* inRules(rule.styleSheet || rule, base, owner);
    }
  }

  /** @type {(style: CSSStyleDeclaration, base: string) => Generator<Reference>} */
  function* inStyle(style, base) {
    for (const [text, , url] of style?.cssText?.matchAll(/url\((["']?)(.*?)\1\)/g) || []) {
      yield { url: resolve(url, base), renew: url => (style.cssText = style.cssText.replaceAll(text, `url("${url}")`)) };
    }
  }

  // What changes.

  /** @type {string[]} */
  const changed = []; // files to be renewed in place
  let due = false; // a reload
  let busy = false;
  let stamp = 0;

  /** @type {(reload: boolean, files: string[]) => void} */
  function change(reload, files) {
    due ||= reload;
    changed.push(...files);
    settle();
  }

  /**
   * Brings the page up to date, once somebody looks at it. What changes while
   * files are fetched makes another round, so that the last one wins.
   */
  async function settle() {
    if (document.hidden || (busy && !due)) return;
    busy = true;
    while (changed[0] && !due) {
      stamp = Date.now();
      await renew(changed.splice(0)).catch(() => (due = true)); // the page may be changing itself
    }
    busy = false;
    if (!due || document.hidden) return;
    try {
      sessionStorage[storageKey()] = JSON.stringify([remember(), src.href]);
    } catch {} // no storage or no room
    due = false; // once: a page may ask its reader, who may say no
    location.reload();
  }

  /** Fetches files again in place, unless a reload turns out to be due. @param {string[]} files */
  async function renew(files) {
    const hits = hitsOf(files);
    for (const [url, byScript] of used) {
      if (files.some(file => means(url, file) && (byScript || !hits.some(hit => means(hit.url, file))))) due = true;
    }
    if (due) return;
    for (const file of files) renewed.set(file, stamp);
    await Promise.all([...new Set(hits.map(hit => hit.owner))].map(swap));
    await Promise.all(hitsOf(files).map(replace));
  }

  /** The references to files that can be renewed. @param {string[]} files */
  const hitsOf = files => [...refsIn(document)].filter(({ url }) => url && files.some(file => means(url, file)));

  /** Makes a URL new to all caches. @param {string} url */
  function fresh(url) {
    const u = new URL(url);
    u.searchParams.set("livereload", `${stamp}`);
    return u.href;
  }

  /**
   * Copies a style element, which goes when the copy and all that it imports is
   * loaded. It outweighs the copy until then, so that the page is never without
   * its styles.
   * @param {any} old
   */
  async function swap(old) {
    if (!old || old.disabled) return;
    const copy = old.cloneNode(true);
    copy.nonce = old.nonce; // which Firefox does not copy
    if (old.href) copy.href = fresh(old.href);
    old.before(copy);
    if ((await loads(copy)) && (await renewImports(copy.sheet))) old.remove();
    else copy.remove(); // what there was is better than nothing
  }

  /** When files were renewed. @type {Map<string, number>} */
  const renewed = new Map();

  /**
   * Renews what a new sheet imports and has changed before, and reports whether
   * all of it is there. An imported sheet may come from a cache of the document
   * as it was first, so it needs a new URL.
   * @type {(sheet: any) => Promise<boolean>}
   */
  async function renewImports(sheet) {
    const done = rulesOf(sheet).map(async rule => {
      const url = resolve(rule.href, sheet.href || document.baseURI);
      if (!url) return true;
      const last = Math.max(...[...renewed].map(([file, when]) => (means(url, file) ? when : 0)));
      if (last > +(new URL(url).searchParams.get("livereload") || 0)) {
        const link = make("link", { rel: "stylesheet", href: fresh(url), media: "not all", nonce: tag.nonce });
        document.documentElement.append(link);
        const there = await loads(link);
        link.remove();
        if (!there) return false;
        const place = rulesOf(sheet).indexOf(rule);
        sheet.deleteRule(place);
        sheet.insertRule(rule.cssText.replace(/url\((["']?).*?\1\)/, `url("${link.href}")`), place);
        rule = sheet.cssRules[place];
        // Until it is there, if its conditions let it load.
        for (let tries = 50; tries && !rulesOf(rule.styleSheet)[0]; tries--) await pause(20);
      }
      return renewImports(rule.styleSheet);
    });
    return (await Promise.all(done)).every(x => x);
  }

  /** @param {number} ms @returns {Promise<any>} */
  const pause = ms => new Promise(resolve => setTimeout(resolve, ms));

  /** Whether an element loads. @param {HTMLElement} element */
  function loads(element) {
    return inTime(
      new Promise((resolve, reject) => {
        element.addEventListener("load", resolve);
        element.addEventListener("error", reject);
      }),
    );
  }

  /** Renews an image, once it is loaded so that nothing is empty meanwhile. @param {Reference} reference */
  async function replace({ url, renew }) {
    if (!renew) return;
    const image = make("img", { src: fresh(url) });
    await inTime(image.decode());
    renew(image.src);
  }

  /** Whether a promise is kept; where that takes too long, a reload is due. @param {Promise<any>} promise */
  async function inTime(promise) {
    const kept = await Promise.race([promise.then(() => true, () => false), pause(9999)]);
    due ||= kept === undefined;
    return kept;
  }

  // What outlives a reload.

  /** @type {Record<string, any>} */
  let kept = {}; // by place, what could not be given back yet
  const edited = new WeakSet(); // what the reader, and no script, has typed or chosen in
  const watched = new WeakSet(); // documents, also of frames
  let tries = 30; // each 100 ms, once the page is loaded

  // Whose values are nobody else's business.
  const fields = "textarea, select, input:not([type=password], [type=file], [type=hidden], [autocomplete*=password], [autocomplete*=cc-])";

  /** A document or shadow root, and those beneath it that may be seen. @type {(root: any) => Generator<any>} */
  function* rootsIn(root) {
    yield root;
    for (const e of root.querySelectorAll("*")) {
      const inner = innerOf(e);
      if (inner) yield* rootsIn(inner);
    }
  }

  /** The shadow root of an element, or the document of a frame. @param {any} e */
  const innerOf = e => e.shadowRoot || e.contentDocument;

  /** Hears of what the reader edits, in frames as well. */
  function watch() {
    for (const root of rootsIn(document)) {
      if (root.host || watched.has(root)) continue;
      watched.add(root);
      root.addEventListener("input", (/** @type {Event} */ event) => event.isTrusted && edited.add(event.composedPath()[0]), true);
    }
  }

  /** What the reader did to the page, and what its frames were to show. */
  function remember() {
    const all = { ...kept };
    /** @type {any} */
    let focus = document.activeElement;
    while (innerOf(focus || {})?.activeElement) focus = innerOf(focus).activeElement;
    for (const root of rootsIn(document)) {
      for (const e of root.querySelectorAll("*")) {
        /** @type {any} */
        const note = {};
        if (e.scrollTop || e.scrollLeft) note.scroll = [e.scrollLeft, e.scrollTop];
        if (e === focus && e.localName !== "body") note.focus = e.isContentEditable ? caretOf(e) : [e.selectionStart, e.selectionEnd];
        if (e.contentWindow) note.shows = whatShows(e);
        if (edited.has(e)) Object.assign(note, inputOf(e));
        Object.assign(note, opennessOf(e));
        if (!Object.keys(note)[0]) continue;
        const place = placeOf(e);
        all[place] = { ...all[place], ...note };
      }
    }
    return all;
  }

  /** The property of an element that its reader may edit, if there is one. @param {any} e */
  function editable(e) {
    if (e.matches(fields)) return e.options ? "options" : /^(checkbox|radio)$/.test(e.type) ? "checked" : "value";
    return e.isContentEditable && e.localName !== "input" ? "innerHTML" : "";
  }

  /** What was typed or chosen in an element, if its author says something else. @type {(e: any) => any} */
  function inputOf(e) {
    const name = editable(e);
    if (name === "options") return { options: [...e.selectedOptions].map(option => option.value) };
    const authors = name === "checked" ? e.defaultChecked : name === "value" ? e.defaultValue : undefined;
    return !name || e[name] === authors ? {} : { [name]: e[name] };
  }

  /** The key of what outlives a reload. Two frames may show the same page. */
  const storageKey = () => "execlogd " + location.href + (frameElement ? " " + placeOf(frameElement) : "");

  /** Where an element is: a line for each frame and shadow root around it, and one for itself. @type {(e: any) => string} */
  function placeOf(e) {
    const root = e.getRootNode();
    let path = selector(e);
    // Of several boxes with one name it is the one with this value.
    if (/^(checkbox|radio)$/.test(e.type) && e.hasAttribute("value") && root.querySelectorAll(path)[1]) path += `[value="${CSS.escape(e.value)}"]`;
    const line = [...root.querySelectorAll(path)].indexOf(e) + " " + path;
    const around = root.host || (root !== document && root.defaultView.frameElement);
    return around ? placeOf(around) + "\n" + line : line;
  }

  /** Finds an element in the next load of the page, with others perhaps. @type {(e: any) => string} */
  function selector(e) {
    const { localName, parentNode } = e;
    // Not as properties, which in a form may be fields of these names.
    const id = e.getAttribute("id");
    const name = e.getAttribute("name");
    if (id) return "#" + CSS.escape(id);
    if (name) return `${localName}[name="${CSS.escape(name)}"]`;
    if (parentNode.nodeType === 9) return ":root";
    let nth = 1;
    for (let before = e; (before = before.previousElementSibling); ) if (before.localName === localName) nth++;
    return (parentNode.host ? "" : selector(parentNode) + ">") + `${localName}:nth-of-type(${nth})`;
  }

  /** The element at a place, once it is there. @type {(place: string) => any} */
  function elementAt(place) {
    /** @type {any} */
    let e;
    /** @type {any} */
    let root = document;
    for (const line of place.split("\n")) {
      e = root?.querySelectorAll(line.replace(/\d+\s/, ""))[parseInt(line)];
      root = e && innerOf(e);
      // What a frame has before it has loaded is replaced.
      if (e?.contentDocument && (root.readyState === "loading" || (root.URL === "about:blank" && whatShows(e)))) root = null;
    }
    return e;
  }

  /** What a frame is to show, as its element says. @param {any} frame */
  const whatShows = frame => frame.getAttribute("srcdoc") ?? frame.getAttribute("src") ?? frame.getAttribute("data") ?? "";

  /** The selection in an element, in characters from its beginning. @param {any} e */
  function caretOf(e) {
    const selection = selectionIn(e);
    const range = selection.rangeCount && selection.getRangeAt(0).cloneRange();
    if (!range || !e.contains(range.startContainer)) return [];
    const length = `${range}`.length;
    range.setStart(e, 0);
    const end = `${range}`.length;
    return [end - length, end];
  }

  /** @param {any} e */
  const selectionIn = e => (e.getRootNode().getSelection ? e.getRootNode() : e.ownerDocument).getSelection();

  /** Puts the selection where caretOf found it. @type {(e: any, ends: number[]) => void} */
  function setCaret(e, ends) {
    const texts = e.ownerDocument.createTreeWalker(e, 4);
    const places = [];
    for (let text, before = 0; (text = texts.nextNode()); before += text.length) {
      for (const end of ends.slice(places.length / 2)) if (end <= before + text.length) places.push(text, end - before);
    }
    if (places[3] != null) selectionIn(e).setBaseAndExtent(...places);
  }

  function giveBack() {
    watch();
    for (const place in kept) {
      const { scroll, focus, shows, open, ...values } = kept[place];
      const e = elementAt(place);
      if (!e || opensLater(e)) continue;
      if (shows != null && !e.contentWindow) continue;
      delete kept[place];
      if (shows != null && shows !== whatShows(e)) showAnew(e, place);
      if (open != null) reopen(e, open);
      for (const name in values) if (!give(e, name, values[name])) kept[place] = { [name]: values[name] };
      if (focus) e.focus({ preventScroll: true });
      if (focus && e.isContentEditable) setCaret(e, focus);
      else if (focus?.[1] != null && e.selectionStart != null) e.setSelectionRange(...focus); // it may be of another type now
      if (!scroll) continue;
      e.scrollTo({ left: scroll[0], top: scroll[1], behavior: "instant" });
      if (e.scrollTop < scroll[1] - 1) kept[place] = { ...kept[place], scroll }; // it is not that long yet
    }
    if (document.readyState === "complete") tries--;
    if (tries && Object.keys(kept)[0]) setTimeout(giveBack, 100);
  }

  /** Gives back, once the page is parsed. */
  function start() {
    for (const dialog of document.querySelectorAll("dialog[open]")) drawn.add(dialog);
    giveBack();
  }

  const toggled = new WeakSet(); // details, since the page was loaded
  const drawn = new WeakSet(); // dialogs that were open as the page came, for its author to close

  /** Whether an element is open that the reader may open and close. @type {(e: any) => any} */
  function opennessOf(e) {
    if (e.localName === "details" && toggled.has(e)) return { open: e.open };
    if (e.localName === "dialog" && e.open && !drawn.has(e)) return { open: e.matches(":modal") ? "modal" : "open" };
  }

  /** Whether an element is a dialog, or in one, that is opened once the page's scripts have had their turn. @param {any} e */
  function opensLater(e) {
    const dialog = e.closest("dialog:not([open])");
    return document.readyState !== "complete" && dialog && kept[placeOf(dialog)]?.open;
  }

  /** Opens or closes an element as opennessOf found it. @type {(e: any, open: any) => void} */
  function reopen(e, open) {
    if (e.localName === "details") {
      toggled.add(e);
      e.open = open;
    } else if (!e.open) {
      if (open === "modal") e.showModal?.();
      else e.open = true; // show takes the focus
    }
  }

  /**
   * Gives an element what was typed or chosen in it, and reports whether it takes that.
   * It may be of another kind by now, or not have its options yet.
   * @type {(e: any, name: string, value: any) => boolean}
   */
  function give(e, name, value) {
    if (edited.has(e)) return true; // again
    if (editable(e) !== name) return false;
    const before = inputOf(e)[name] ?? e[name];
    if (`${before}` !== `${value}`) {
      if (name === "options") {
        if (!choose(e, value)) return false;
      } else if (name === "innerHTML") {
        try {
          e.innerHTML = trusted("createHTML", value);
        } catch (error) {
          console.warn("execlogd: text is lost, as the page's policy does not let it be given back:", error);
          return true;
        }
      } else {
        // Past what a framework has put upon the element itself.
        const set = (/** @type {any} */ to) => Reflect.set(Object.getPrototypeOf(e), name, to, e);
        set(value);
        if (e[name] !== value) {
          set(before);
          return false;
        }
      }
      e.dispatchEvent(new Event("input", { bubbles: true }));
    }
    edited.add(e);
    return true;
  }

  /** Chooses options by their values, if all are there, and reports whether they are. @type {(select: any, values: string[]) => boolean} */
  function choose(select, values) {
    const options = [...select.options];
    if (!values.every(value => options.some(option => option.value === value))) return false;
    for (const option of options) option.selected = values.includes(option.value);
    return true;
  }

  /**
   * Shows what the element of a frame says by now. After a reload Firefox loads
   * what the frame had before, which is of no use for what was noted in it.
   * @type {(frame: any, place: string) => void}
   */
  function showAnew(frame, place) {
    for (const inner in kept) if (inner.startsWith(place + "\n")) delete kept[inner];
    if (frame.hasAttribute("srcdoc")) frame.srcdoc = trusted("createHTML", frame.srcdoc);
    else frame.contentWindow.location.replace(frame.src || frame.data);
  }

  /** @type {any} */
  let types; // made when they are needed, as a page may forbid it

  /** A text as a page takes it that demands trusted types. @type {(make: string, text: string) => any} */
  function trusted(make, text) {
    const same = (/** @type {string} */ s) => s;
    try {
      types ||= /** @type {any} */ (self).trustedTypes.createPolicy("execlogd", { createHTML: same, createScriptURL: same });
    } catch {}
    return types ? types[make](text) : text;
  }

  /** @type {(types: string, hear: (event: any) => void) => void} */
  function on(types, hear) {
    for (const type of types.split(" ")) addEventListener(type, hear, true);
  }

  on("beforeunload pagehide", leave);
  const mirror = typeof mirrorReader === "function" ? mirrorReader({ on, say, placeOf, elementAt, fields, edited }) : null;
  on("pageshow online visibilitychange resume", wake);
  on("securitypolicyviolation", violated);
  on("load", tellSoon);
  on("keydown", ({ key }) => key === "Escape" && panel.hide());
  on("keydown pointerdown wheel touchmove", () => {
    for (const place in kept) delete kept[place].scroll, delete kept[place].focus;
  });
  on("toggle", ({ target }) => document.readyState === "complete" && toggled.add(target));
  document.addEventListener("load", tellSoon, true); // of a frame, say
  /** @type {any} */ (self).navigation?.addEventListener("navigatesuccess", () => {
    if (toldURL !== location.href) tell("url");
    tellSoon(); // the title
  });
  new PerformanceObserver(list => {
    for (const { name, initiatorType, startTime } of /** @type {PerformanceResourceTiming[]} */ (list.getEntries())) {
      // Frames are found in the page: those with a client see to themselves.
      if (!/frame/.test(initiatorType)) keep(name, /fetch|xml|script/.test(initiatorType), startTime);
    }
  }).observe({ type: "resource", buffered: true });
  try {
    const key = storageKey();
    let token;
    [kept, token] = JSON.parse(sessionStorage[key] || "[{}]");
    // A page that has the same token as before the reload has it in its file, as
    // when it was saved from a browser. It is as new as it gets.
    if (token === src.href) cursor = { seen: "-" };
    delete sessionStorage[key];
  } catch {
    // Without storage such a page cannot be told from others, and would load for ever.
    const [entry] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
    if (entry?.type === "reload") cursor = { seen: "-" };
  }
  connect();
  if (document.readyState === "loading") on("DOMContentLoaded", start);
  else start();
})();
