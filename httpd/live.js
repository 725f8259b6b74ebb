// The browser's half of execlogd: keeps this page up to date with the files it
// is made of. Speaks the LiveReload protocol, official-7, and takes the same
// options in the query of its own URL as livereload-js does: host, port, path,
// https.
(() => {
  "use strict";

  const protocol = "http://livereload.com/protocols/official-7";
  const firstDelay = 200; // ms between attempts to reconnect; doubles,
  const lastDelay = 5000; // up to this
  const loaded = Symbol.for("execlogd.live");
  const buster = "livereload"; // the query that makes a URL new to all caches

  /** @type {WebSocket | null} */
  let socket = null;
  let delay = firstDelay;
  let timer = 0;
  let reloadWhenSeen = false;
  let told = ""; // the URL that the server knows

  /** The element that loaded this script, as only it says where the server is. */
  function ownElement() {
    const own = /** @type {HTMLScriptElement | null} */ (document.currentScript);
    if (own && own.src) return own;
    return [...document.scripts].find((s) => /livereload(\.min)?\.js($|[?#])/.test(s.src));
  }

  /** Where the socket is; a blank or missing port means that of the script. */
  function socketURL() {
    const own = ownElement();
    if (!own) return "";
    const src = new URL(own.src);
    /** @type {Record<string, string>} */
    const options = { path: "livereload" };
    for (const pair of src.search.slice(1).split("&")) {
      const at = pair.indexOf("=");
      if (at > 0) options[pair.slice(0, at)] = pair.slice(at + 1);
    }
    const secure = src.protocol === "https:" || options.https === "1";
    const port = Number(options.port) || src.port;
    const host = options.host || src.hostname;
    return `${secure ? "wss" : "ws"}://${host}${port ? ":" + port : ""}/${options.path}`;
  }

  // The connection.

  function connect() {
    clearTimeout(timer);
    if (socket) return;
    try {
      socket = new WebSocket(server);
    } catch {
      return; // not allowed here, and will not be in a second
    }
    const current = socket;
    current.onopen = () => say({ command: "hello", protocols: [protocol], ver: "execlogd" });
    current.onmessage = (event) => hear(event.data);
    current.onclose = () => {
      if (socket !== current) return;
      socket = null;
      timer = setTimeout(connect, delay);
      delay = Math.min(2 * delay, lastDelay);
    };
  }

  /** Tries at once, as there is reason to believe that it will work now. */
  function connectNow() {
    delay = firstDelay;
    connect();
  }

  function disconnect() {
    clearTimeout(timer);
    const current = socket;
    socket = null;
    if (current) current.close();
  }

  /** @param {object} message */
  function say(message) {
    if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }

  /** @param {string} text */
  function hear(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message.command === "hello") {
      delay = firstDelay;
      told = location.href;
      say({ command: "info", plugins: {}, url: told });
    } else if (message.command === "reload") {
      refresh(String(message.path), message.liveCSS !== false, message.liveImg !== false);
    }
  }

  /** Tells of an address that changed without a page being loaded. */
  function tellURL() {
    if (told && told !== location.href) say({ command: "url", url: (told = location.href) });
  }

  // What a change does to the page.

  /**
   * @param {string} path
   * @param {boolean} liveCSS
   * @param {boolean} liveImg
   */
  function refresh(path, liveCSS, liveImg) {
    if (liveCSS && /\.css$/i.test(path)) refreshStyles(path);
    else if (liveImg && /\.(jpe?g|png|gif|svg|webp|avif)$/i.test(path)) refreshImages(path);
    else reload();
  }

  /** Loads the page again, or once somebody looks at it. */
  function reload() {
    reloadWhenSeen = document.hidden;
    if (!reloadWhenSeen) location.reload();
  }

  /**
   * Says whether a URL in the page means the changed file. On our own server
   * paths are equal; one next door may serve the same files beneath another
   * path.
   * @param {string} url
   * @param {string} path
   */
  function means(url, path) {
    try {
      const { host, pathname } = new URL(url, document.baseURI);
      const own = decodeURIComponent(pathname);
      return own === path || (host !== new URL(server).host && (own.endsWith(path) || path.endsWith(own)));
    } catch {
      return false;
    }
  }

  /** @param {string} url */
  function fresh(url) {
    const u = new URL(url, document.baseURI);
    u.searchParams.set(buster, String(Date.now()));
    return u.href;
  }

  /**
   * Which element an element is to replace once it is loaded.
   * @type {WeakMap<Element, Element>}
   */
  const older = new WeakMap();
  /** @type {WeakSet<Element>} */
  const replaced = new WeakSet();

  /**
   * Puts a copy of a style element behind it, and removes the element when
   * the copy is loaded, so that the page is never without its styles.
   * @param {Element} old
   */
  function swap(old) {
    if (replaced.has(old)) return;
    const copy = /** @type {HTMLElement} */ (old.cloneNode(true));
    if (copy instanceof HTMLLinkElement) copy.href = fresh(copy.href);
    older.set(copy, old);
    replaced.add(old);
    copy.addEventListener("load", () => {
      for (let e = older.get(copy); e; e = older.get(e)) e.remove();
      older.delete(copy);
    }, { once: true });
    copy.addEventListener("error", () => {
      copy.remove(); // what there was is better than nothing
      replaced.delete(old);
    }, { once: true });
    old.after(copy);
  }

  /** @param {string} path */
  function refreshStyles(path) {
    for (const sheet of [...document.styleSheets]) {
      const owner = /** @type {Element | null} */ (sheet.ownerNode);
      if (!owner) continue;
      if (sheet.href && means(sheet.href, path)) {
        swap(owner);
        continue;
      }
      const imported = importOf(sheet, path);
      if (!imported) continue;
      // The copy must not find the old import in a cache.
      fetch(imported, { cache: "reload", mode: "no-cors" }).catch(() => {}).then(() => swap(owner));
    }
    for (const link of document.querySelectorAll("link[rel~=stylesheet i][href]")) {
      const { sheet, href } = /** @type {HTMLLinkElement} */ (link);
      if (!sheet && means(href, path)) swap(link); // it was missing, or is on its way
    }
  }

  /**
   * The URL of an imported sheet that means the changed file, at any depth.
   * @param {CSSStyleSheet} sheet
   * @param {string} path
   * @returns {string}
   */
  function importOf(sheet, path) {
    for (const rule of rulesOf(sheet)) {
      if (!(rule instanceof CSSImportRule) || !rule.styleSheet) continue;
      const { href } = rule.styleSheet;
      if (href && means(href, path)) return href;
      const deeper = importOf(rule.styleSheet, path);
      if (deeper) return deeper;
    }
    return "";
  }

  /**
   * The rules of a sheet or group; none where another origin's are hidden.
   * @param {any} group
   * @returns {CSSRule[]}
   */
  function rulesOf(group) {
    try {
      return [...(group.cssRules || [])];
    } catch {
      return [];
    }
  }

  /** @param {string} path */
  function refreshImages(path) {
    for (const image of document.querySelectorAll("img, source, input[type=image], video[poster]")) {
      for (const name of ["src", "poster"]) {
        const value = image.getAttribute(name);
        if (value && means(value, path)) image.setAttribute(name, fresh(value));
      }
      const set = image.getAttribute("srcset");
      const renewed = set && set.replace(/[^\s,]\S*[^\s,]/g, (url) => (means(url, path) ? fresh(url) : url));
      if (renewed && renewed !== set) image.setAttribute("srcset", renewed);
    }
    for (const e of document.querySelectorAll("[style*='url(']")) {
      refreshURLs(/** @type {HTMLElement} */ (e).style, document.baseURI, path);
    }
    for (const sheet of document.styleSheets) refreshRules(sheet, sheet.href || document.baseURI, path);
  }

  /**
   * @param {any} group
   * @param {string} base
   * @param {string} path
   */
  function refreshRules(group, base, path) {
    for (const rule of /** @type {any[]} */ (rulesOf(group))) {
      if (rule.styleSheet) refreshRules(rule.styleSheet, rule.styleSheet.href || base, path);
      if (rule.style) refreshURLs(rule.style, base, path);
      refreshRules(rule, base, path);
    }
  }

  /**
   * @param {CSSStyleDeclaration} style
   * @param {string} base
   * @param {string} path
   */
  function refreshURLs(style, base, path) {
    for (const name of [...style]) {
      const value = style.getPropertyValue(name);
      const renewed = value.replace(/url\((["']?)(.*?)\1\)/g, (text, _, url) => {
        const absolute = URL.canParse(url, base) ? new URL(url, base).href : "";
        return absolute && means(absolute, path) ? `url("${fresh(absolute)}")` : text;
      });
      if (renewed !== value) style.setProperty(name, renewed, style.getPropertyPriority(name));
    }
  }

  const server = socketURL();
  if (!server || loaded in window) return;
  Object.defineProperty(window, loaded, { value: true });

  // An open socket would keep the page out of the back-forward cache, and be
  // reported as broken where it is cut.
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => event.persisted && connectNow());
  addEventListener("online", connectNow);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    if (reloadWhenSeen) reload();
    else connectNow();
  });
  addEventListener("popstate", tellURL);
  /** @type {any} */ (window).navigation?.addEventListener("navigatesuccess", tellURL);
  connect();
})();
