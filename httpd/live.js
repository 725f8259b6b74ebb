// The browser's half of execlogd: keeps a page up to date with its files.
// Speaks LiveReload's official-7, and takes the options of livereload-js in
// the query of its own URL: host, port, path, https.
(() => {
  "use strict";

  const protocol = "http://livereload.com/protocols/official-7";
  const firstDelay = 200; // ms from the end of a connection to the next try; doubles,
  const lastDelay = 5000; // up to this
  const loaded = Symbol.for("execlogd.live");

  /** @type {WebSocket | null} */
  let socket = null;
  let delay = firstDelay;
  let timer = 0;
  let reloadWhenSeen = false;
  let told = ""; // the page's URL as the server knows it

  /** Where the server is, which the URL of this script says. */
  function socketURL() {
    const own = /** @type {any} */ (document.currentScript) || [...document.scripts].find((s) => /livereload\.js($|\?)/.test(s.src));
    if (!own?.src) return "";
    // A base element further down moves src, but not where the script came from.
    const base = document.querySelector("base[href]");
    const moved = base && own.compareDocumentPosition(base) & Node.DOCUMENT_POSITION_FOLLOWING;
    const src = moved ? new URL(own.getAttribute("src"), document.URL) : new URL(own.src);
    /** @type {Record<string, string>} */
    const options = {};
    for (const pair of src.search.slice(1).split("&")) {
      const at = pair.indexOf("=");
      if (at > 0) options[pair.slice(0, at)] = pair.slice(at + 1);
    }
    const scheme = src.protocol === "https:" || options.https === "1" ? "wss" : "ws";
    const port = Number(options.port) || src.port; // a blank one is the script's
    const beside = src.pathname.replace(/[^/]*$/, ""); // also below a proxy's prefix
    return `${scheme}://${options.host || src.hostname}${port && ":" + port}${beside}${options.path || "livereload"}`;
  }

  function connect() {
    clearTimeout(timer);
    if (socket) return;
    try {
      socket = new WebSocket(server);
    } catch {
      return; // forbidden here
    }
    socket.onopen = () => say({ command: "hello", protocols: [protocol], ver: "execlogd" });
    socket.onmessage = (event) => hear(event.data);
    socket.onclose = ({ target }) => {
      if (socket !== target) return;
      socket = null;
      timer = setTimeout(connect, delay);
      delay = Math.min(2 * delay, lastDelay);
    };
  }

  function connectNow() {
    delay = firstDelay;
    connect();
  }

  function disconnect() {
    clearTimeout(timer);
    const current = socket;
    socket = null;
    current?.close();
  }

  /** @param {object} message */
  function say(message) {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }

  /** @param {string} text */
  function hear(text) {
    const message = JSON.parse(text);
    if (message.command === "hello") {
      delay = firstDelay;
      told = location.href;
      say({ command: "info", plugins: {}, url: told });
    } else if (message.command === "reload") {
      refresh(message);
    }
  }

  /** Tells of a URL that changed without the page being loaded. */
  function tellURL() {
    if (told && told !== location.href) say({ command: "url", url: (told = location.href) });
  }

  /** @param {{ path: string, liveCSS?: boolean, liveImg?: boolean }} message */
  function refresh({ path, liveCSS = true, liveImg = true }) {
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
   * Whether a URL means the changed file. On our server paths are equal; one
   * next door may have the same files beneath another path.
   * @type {(url: string, path: string) => boolean}
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

  /** Makes a URL new to all caches. @param {string} url */
  function fresh(url) {
    const u = new URL(url, document.baseURI);
    u.searchParams.set("livereload", String(Date.now()));
    return u.href;
  }

  /** @type {WeakMap<Element, Element>} */
  const older = new WeakMap(); // which element a copy replaces
  const copied = new WeakSet();

  /**
   * Copies a style element, which goes when the copy is loaded, so that the
   * page is never without its styles.
   * @param {Element} old
   */
  function swap(old) {
    if (copied.has(old)) return;
    const copy = /** @type {Element} */ (old.cloneNode(true));
    if (copy instanceof HTMLLinkElement) copy.href = fresh(copy.href);
    older.set(copy, old);
    copied.add(old);
    copy.addEventListener("load", () => {
      for (let e = older.get(copy); e; e = older.get(e)) e.remove();
    });
    copy.addEventListener("error", () => {
      copy.remove(); // what there was is better than nothing
      copied.delete(old);
    });
    old.after(copy);
  }

  /** @param {string} path */
  function refreshStyles(path) {
    for (const owner of document.querySelectorAll("link[rel~=stylesheet i][href], style")) {
      const { href, sheet } = /** @type {HTMLLinkElement} */ (owner);
      if (href && means(href, path)) {
        swap(owner);
        continue;
      }
      const url = importOf(sheet, path);
      // The copy must not find the old import in a cache.
      if (url) fetch(url, { cache: "reload", mode: "no-cors" }).catch(() => {}).then(() => swap(owner));
    }
  }

  /** The URL of the changed file as a sheet imports it. @type {(sheet: any, path: string) => string} */
  function importOf(sheet, path) {
    for (const { styleSheet } of rulesOf(sheet)) {
      if (!styleSheet) continue;
      const found = means(styleSheet.href, path) ? styleSheet.href : importOf(styleSheet, path);
      if (found) return found;
    }
    return "";
  }

  /** None where another origin's are hidden. @type {(group: any) => any[]} */
  function rulesOf(group) {
    try {
      return [...group.cssRules];
    } catch {
      return [];
    }
  }

  /** @param {string} path */
  function refreshImages(path) {
    for (const name of ["src", "href", "poster", "data"]) {
      for (const user of document.querySelectorAll(`:is(img, source, input, embed, image, link[rel~=icon i], video, object)[${name}]`)) {
        const url = user.getAttribute(name) || "";
        if (means(url, path)) user.setAttribute(name, fresh(url));
      }
    }
    for (const image of document.querySelectorAll("[srcset]")) {
      const set = image.getAttribute("srcset") || "";
      const renewed = set.replace(/[^\s,]\S*[^\s,]/g, (url) => (means(url, path) ? fresh(url) : url));
      if (renewed !== set) image.setAttribute("srcset", renewed);
    }
    const base = document.baseURI;
    for (const e of document.querySelectorAll("[style*='url(']")) refreshURLs(/** @type {any} */ (e).style, base, path);
    for (const sheet of document.styleSheets) refreshRules(sheet, base, path);
  }

  /** @type {(group: any, base: string, path: string) => void} */
  function refreshRules(group, base, path) {
    base = (group && group.href) || base;
    for (const rule of rulesOf(group)) {
      if (rule.style) refreshURLs(rule.style, base, path);
      refreshRules(rule.styleSheet || rule, base, path);
    }
  }

  /** @type {(style: CSSStyleDeclaration, base: string, path: string) => void} */
  function refreshURLs(style, base, path) {
    for (const name of [...style]) {
      const value = style.getPropertyValue(name);
      const renewed = value.replace(/url\((["']?)(.*?)\1\)/g, (text, _, url) => {
        const whole = URL.canParse(url, base) && new URL(url, base).href;
        return whole && means(whole, path) ? `url("${fresh(whole)}")` : text;
      });
      if (renewed !== value) style.setProperty(name, renewed, style.getPropertyPriority(name));
    }
  }

  const server = socketURL();
  if (!server || loaded in window) return;
  Object.defineProperty(window, loaded, { value: true });

  // A page with an open socket is not kept for the back button.
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => event.persisted && connectNow());
  addEventListener("online", connectNow);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    if (reloadWhenSeen) reload();
    else connectNow();
  });
  /** @type {any} */ (window).navigation?.addEventListener("navigatesuccess", tellURL);
  connect();
})();
