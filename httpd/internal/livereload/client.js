// The browser's half of execlogd: keeps a page up to date with its files.
//
// It tells the server which files the page uses, is told which of them
// changed, and fetches those again in place, or loads the page again and gives
// back what its reader did to it. It offers a protocol of ours beside
// LiveReload's official-7, and takes the options of livereload-js in the query
// of its own URL: host, port, path, https.
//
// It is served without comments and needless space, so no string is longer
// than its line, and a comment behind code is preceded by a space.
(() => {
  "use strict";

  const ours = "https://github.com/execlog/execlogd/protocol-1";
  const client = Symbol.for("execlogd.live"); // in a window that has one
  const tag = /** @type {any} */ (document.currentScript) || [...document.scripts].find(s => /livereload\.js($|\?)/.test(s.src));
  if (!tag?.src || client in self) return;
  /** @type {any} */ (self)[client] = true;

  // A base element further down moves src, but not where the script came from.
  const moved = document.querySelector("base");
  const src = moved && tag.compareDocumentPosition(moved) & 4 ? new URL(tag.getAttribute("src"), document.URL) : new URL(tag.src);
  const home = new URL(".", src).href; // what the paths of the site are below

  const { host, port, path, https } = Object.fromEntries(src.searchParams);
  const { pathname, search } = new URL(path || "livereload", home);
  const where = (host || src.hostname) + ":" + (+port || src.port); // a blank port is the script's
  const server = new URL((https === "1" ? "wss:" : src.protocol.replace("http", "ws")) + "//" + where + pathname + search).href;

  /** A URL's path as both sides write it: each byte but A-Z a-z 0-9 - . _ ~ / as %XX. @param {string} path */
  const canonical = path => escape(unescape(path)).replace(/[@*+]|%7E/g, s => (s[1] ? "~" : "%" + s.charCodeAt(0).toString(16).toUpperCase()));

  /** A whole URL without query and fragment. @param {string} url */
  const plain = url => url.split(/[?#]/, 1)[0];

  /** The canonical path of a whole URL, "" for one that is not of the site. @param {string} url */
  const pathOf = url => (url.startsWith(home) ? canonical(plain(url).slice(home.length - 1)) : "");

  const ownURL = plain(src.href);
  const placed = pathOf(location.href) !== ""; // the page is one of the site

  // The connection.

  const soon = 500; // ms until the next probe for a server that is gone
  /** @type {WebSocket | null} */
  let socket = null;
  let agreed = false; // on our protocol
  let blocked = false; // by the page's policy
  let probing = true;
  let delay = soon;
  let timer = 0; // until the next probe, or the deadline of an answer
  let toldURL = "";
  let toldUses = 0; // how many
  let cursor = {}; // that the server sent last, with a digest; the first is in the socket's URL

  function connect() {
    clearTimeout(timer);
    if (socket || blocked) return;
    try {
      socket = new WebSocket(server);
    } catch {
      return giveUp();
    }
    socket.onopen = () => say({ command: "hello", protocols: ["http://livereload.com/protocols/official-7", ours], ver: "execlogd" });
    socket.onmessage = ({ data }) => hear(JSON.parse(data));
    socket.onclose = () => {
      socket = null;
      timer = setTimeout(probe, delay);
      delay = Math.min(2 * delay, 9999); // where it is there, and refuses
    };
  }

  /**
   * Opens a socket if there is a server. Chromium lets a socket wait the
   * longer the more have failed, but not a fetch. A hidden page waits until it
   * is seen.
   */
  async function probe() {
    if (document.hidden) return;
    const { ok, type } = await fetch(ownURL, { method: "HEAD", mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(3000) }).catch(Response.error);
    if (document.hidden || socket) return;
    if (ok || type === "opaque" || !probing) return connect();
    delay = soon;
    timer = setTimeout(probe, delay);
  }

  /** The page is visible, or the network is another: checks the connection. @param {any} event */
  function wake({ persisted }) {
    if (document.hidden || persisted === false) return;
    settle();
    delay = soon;
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
    if (!old) return;
    old.onclose = old.onmessage = null;
    if (old.readyState) old.close();
    else old.onopen = () => old.close();
  }

  /** The page's policy forbids the socket. The server is told by another request. */
  function giveUp() {
    blocked = true;
    disconnect();
    document.documentElement.append(make("script", { nonce: tag.nonce, src: ownURL + "?blocked=connect-src" }));
  }

  /** @param {object} message */
  const say = message => socket?.readyState === 1 && socket.send(JSON.stringify(message));

  /** @param {any} message */
  function hear({ command, protocols, seen, digest, reload, files, errors, path, liveCSS }) {
    clearTimeout(timer);
    if (seen) cursor = { seen, digest };
    if (command === "hello") {
      delay = soon;
      agreed = protocols.includes(ours);
      tellUses("info");
    }
    if (command === "change") change(reload, files);
    if (command === "errors") showErrors(errors);
    // Missing files, of which the browser says nothing where nobody read the answer.
    if (command === "tried") files.forEach((/** @type {string} */ file) => keep(home + file.slice(1)));
    // A server that knows official-7 alone.
    if (command === "reload" && !agreed) change(liveCSS === false || !/\.(css|jpe?g|png|gif|svg|webp|avif)$/i.test(path), [canonical(encodeURIComponent(path))]);
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
   * @type {Map<string, boolean>}
   */
  const used = new Map();
  /** @type {Set<string>} */
  const refetched = new Set(); // by us
  let scanTimer = 0;

  /** @type {(url: string, byScript?: boolean) => void} */
  function keep(url, byScript = false) {
    url = plain(url);
    if (!/^(http|file)/.test(url) || url === ownURL || used.size > 9999) return;
    if (!used.has(url)) tellSoon();
    used.set(url, byScript || !!used.get(url));
  }

  const tellSoon = () => (scanTimer ||= setTimeout(tellUses, 200));

  /** Tells the used files of the site. No frame, which has 64 KiB, holds more: that is as good as all. */
  function tellUses(command = "uses") {
    scanTimer = 0;
    for (const { url } of refsIn(document)) keep(url);
    const paths = [...new Set([...used.keys()].map(pathOf))].filter(Boolean);
    const uses = JSON.stringify(paths).length < 60000 ? paths : undefined;
    const count = uses ? paths.length : 0;
    if (command === "info" || count < toldUses) tell("info", uses);
    else if (count > toldUses && agreed) say({ command, uses: paths.slice(toldUses) });
    toldUses = count;
  }

  /**
   * Whether a whole URL means a file. A page of a server next door may have
   * the same files beneath another path.
   * @type {(url: string, file: string) => boolean}
   */
  function means(url, file) {
    const own = pathOf(url);
    if (own || placed) return own === file;
    const path = canonical(new URL(url).pathname);
    return path.endsWith(file) || file.endsWith(path);
  }

  // What the page refers to.

  const candidates = /(?<=(?:^|,)\s*)\S*[^\s,]/g; // in a srcset

  /**
   * A reference to a file: how it is renewed in place, or the element whose
   * copy loads the style sheet again.
   * @typedef {{ url: string, renew?: (url: string) => void, owner?: any, imported?: boolean }} Reference
   */

  /** @type {(text: string, base: string) => string} */
  const resolve = (text, base) => (text && URL.canParse(text, base) ? new URL(text, base).href : "");

  /** All references in a document or shadow root. @type {(root: any) => Generator<Reference>} */
  function* refsIn(root) {
    const base = root.baseURI;
    for (const e of root.querySelectorAll("*")) {
      if (e.shadowRoot) yield* refsIn(e.shadowRoot);
      if (e.hasAttribute("style")) yield* inStyle(e.style, base);
      if (e.matches("link[rel~=stylesheet i]")) yield { url: e.href, owner: e };
      if (!e.matches("[src], [srcset], iframe, object, video, image, use, feImage, link[rel~=icon i]") || seesToItself(e)) continue;
      if (e.contentDocument) yield* refsIn(e.contentDocument);
      for (const name of ["src", "href", "xlink:href", "data", "poster"]) {
        yield { url: resolve(e.getAttribute(name), base), renew: url => e.setAttribute(name, url) };
      }
      for (const [text] of (e.srcset || "").matchAll(candidates)) {
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

  /** None where another origin's are hidden. @type {(group: any, base: string, owner: any) => Generator<Reference>} */
  function* inRules(group, base, owner) {
    base = group.href || base;
    let rules = [];
    try {
      rules = group.cssRules || [];
    } catch {}
    for (const rule of rules) {
      if (rule.href) yield { url: resolve(rule.href, base), owner, imported: true };
      if (rule.style) yield* inStyle(rule.style, base);
      yield* inRules(rule.styleSheet || rule, base, owner);
    }
  }

  /** @type {(style: CSSStyleDeclaration, base: string) => Generator<Reference>} */
  function* inStyle(style, base) {
    for (const [text, , url] of style.cssText.matchAll(/url\((["']?)(.*?)\1\)/g)) {
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
      await renew(changed.splice(0));
    }
    busy = false;
    if (!due || document.hidden) return;
    try {
      sessionStorage["execlogd " + location.href] = JSON.stringify([remember(), src.href]);
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
    await Promise.all(hits.filter(hit => hit.imported).map(refetch));
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

  /** Replaces an imported sheet in the cache, where the copy will look. @param {Reference} reference */
  async function refetch({ url }) {
    if (url[0] === "f") return; // file: has no cache
    refetched.add(url);
    await inTime(fetch(url, { cache: "reload", mode: "no-cors" }));
  }

  /**
   * Copies a style element, which goes when the copy is loaded, so that the
   * page is never without its styles.
   * @param {any} old
   */
  async function swap(old) {
    if (!old || old.disabled) return;
    const copy = old.cloneNode(true);
    if (old.href) copy.href = fresh(old.href);
    old.after(copy);
    const loads = (/** @type {any} */ resolve, /** @type {any} */ reject) => {
      copy.addEventListener("load", resolve);
      copy.addEventListener("error", reject);
    };
    if (await inTime(new Promise(loads))) old.remove();
    else copy.remove(); // what there was is better than nothing
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
    const kept = await Promise.race([promise.then(() => true, () => false), new Promise(resolve => setTimeout(resolve, 9999))]);
    due ||= kept === undefined;
    return kept;
  }

  // What outlives a reload.

  /** @type {Record<string, any>} */
  let kept = {}; // by element, what it could not be given back yet
  const edited = new WeakSet();
  let tries = 30; // each 100 ms, once the page is loaded

  /** What the reader did to the page. */
  function remember() {
    const all = { ...kept };
    for (const e of /** @type {Iterable<any>} */ (document.querySelectorAll("*"))) {
      /** @type {any} */
      const note = {};
      if (e.scrollTop || e.scrollLeft) note.scroll = [e.scrollLeft, e.scrollTop];
      if (e === document.activeElement && e !== document.body) note.focus = [e.selectionStart, e.selectionEnd];
      if (e.matches("textarea, input:not([type=password], [type=file], [type=hidden], [autocomplete*=password], [autocomplete*=cc-])")) {
        if (e.value !== e.defaultValue) note.value = e.value;
        if (e.checked !== e.defaultChecked) note.checked = e.checked;
      }
      if (edited.has(e.closest("select"))) note.selected = e.selected;
      if (edited.has(e) && e.isContentEditable) note.innerHTML = e.innerHTML;
      if (!Object.keys(note)[0]) continue;
      const path = selector(e);
      const where = [...document.querySelectorAll(path)].indexOf(e) + " " + path;
      all[where] = { ...all[where], ...note };
    }
    return all;
  }

  /** Finds an element in the next load of the page, with others perhaps. @type {(e: any) => string} */
  function selector({ id, name, localName, parentElement, previousElementSibling: before }) {
    if (id) return "#" + CSS.escape(id);
    if (name) return `${localName}[name="${CSS.escape(name)}"]`;
    let nth = 1;
    for (; before; before = before.previousElementSibling) if (before.localName === localName) nth++;
    return parentElement ? `${selector(parentElement)}>${localName}:nth-of-type(${nth})` : ":root";
  }

  function giveBack() {
    for (const where in kept) {
      const { scroll, focus, ...values } = kept[where];
      const e = /** @type {any} */ (document.querySelectorAll(where.replace(/\d+/, ""))[parseInt(where)]);
      if (!e) continue;
      delete kept[where];
      for (const name in values) {
        if (e[name] === values[name]) continue;
        // Past what a framework has put upon the element itself.
        Reflect.set(Object.getPrototypeOf(e), name, values[name], e);
        e.dispatchEvent(new Event("input", { bubbles: true }));
      }
      if (focus) e.focus({ preventScroll: true });
      if (focus?.[1] != null) e.setSelectionRange(...focus);
      if (!scroll) continue;
      e.scrollTo({ left: scroll[0], top: scroll[1], behavior: "instant" });
      if (e.scrollTop < scroll[1] - 1) kept[where] = { scroll }; // it is not that long yet
    }
    if (document.readyState === "complete") tries--;
    if (tries && Object.keys(kept)[0]) setTimeout(giveBack, 100);
  }

  // What is wrong.

  const look =
    ":host{all:initial!important}" +
    "section{position:fixed;inset:auto 0 0;width:auto;max-height:45vh;margin:0;padding:12px 16px;overflow:auto;overscroll-behavior:contain;overflow-wrap:anywhere;" +
    "border:0;border-top:4px solid #d33;background:Canvas;color:CanvasText;color-scheme:light dark;font:15px/1.5 system-ui}" +
    "h2{margin:0;font-size:1em}" +
    "pre{margin:4px 0 16px;font:.9em/1.5 monospace;white-space:pre-wrap}" +
    "@media(max-device-width:600px)and (min-width:800px){section{font-size:36px}}" + // shown smaller
    "button{position:sticky;top:0;float:right;margin-left:12px;padding:8px 12px;font:inherit}";
  let shown = "[]";
  /** @type {any} */
  let panel;

  /** @type {(tag: string, properties: object) => any} */
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

  /** Shows errors until there are others or none, or they are dismissed. @param {{ title: string, text: string }[]} errors */
  function showErrors(errors) {
    const text = JSON.stringify(errors);
    if (text === shown) return;
    shown = text;
    panel?.remove();
    if (!errors[0]) return;
    panel = make("div", {});
    const root = panel.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(look);
    root.adoptedStyleSheets = [sheet];
    const section = make("section", { role: "alert", popover: "manual" });
    root.append(section);
    document.documentElement.append(panel);
    section.showPopover?.();
    section.append(make("button", { textContent: "Dismiss", onclick: () => panel.remove() }));
    for (const { title, text } of errors) section.append(make("h2", { textContent: title }), make("pre", { textContent: text }));
  }

  /** @type {(types: string, hear: (event: any) => void) => void} */
  function on(types, hear) {
    for (const type of types.split(" ")) addEventListener(type, hear, true);
  }

  // A page with an open socket is not kept for the back button, and one whose
  // socket is still closing when it is kept says so in the console. So it is
  // closed ahead, and opened again where the page stays after all.
  on("beforeunload pagehide", () => {
    disconnect();
    timer = setTimeout(wake, 3000, {});
  });
  on("pageshow online visibilitychange resume", wake);
  on("securitypolicyviolation", ({ blockedURI, disposition }) => {
    if (disposition !== "enforce" || blocked) return;
    if (blockedURI === ownURL) probing = false;
    if (/^ws/.test(blockedURI) && server.startsWith(blockedURI)) giveUp();
  });
  on("load", tellSoon);
  on("input", ({ target }) => edited.add(target));
  on("keydown", ({ key }) => key === "Escape" && panel?.remove());
  on("keydown pointerdown wheel touchmove", () => (kept = {}));
  on("DOMContentLoaded", giveBack);
  document.addEventListener("load", tellSoon, true); // of a frame, say
  /** @type {any} */ (self).navigation?.addEventListener("navigatesuccess", () => toldURL !== location.href && tell("url"));
  new PerformanceObserver(list => {
    for (const { name, initiatorType } of /** @type {PerformanceResourceTiming[]} */ (list.getEntries())) {
      // Frames are found in the page: those with a client see to themselves.
      if (!/frame/.test(initiatorType)) keep(name, /fetch|xml|script/.test(initiatorType) && !refetched.has(name));
    }
  }).observe({ type: "resource", buffered: true });
  try {
    const key = "execlogd " + location.href;
    let token;
    [kept, token] = JSON.parse(sessionStorage[key] || "[{}]");
    // A page that has the same token as before the reload has it in its file, as
    // when it was saved from a browser. It is as new as it gets.
    if (token === src.href) cursor = { seen: "-" };
    delete sessionStorage[key];
  } catch {}
  connect();
  if (document.readyState !== "loading") giveBack();
})();
