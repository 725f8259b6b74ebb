// Keeps the status page up to date. The server renders its main element and sends
// it as an event whenever it has changed; this script puts it in place. Without the
// script the page shows what was when it was loaded.
(() => {
  "use strict";

  const retry = 10000; // ms to the next try after the server has refused
  const reloadTime = 2000; // ms that a page may take to be loaded again

  /** @type {EventSource | null} */
  let source = null;
  let timer = 0;
  let latest = document.querySelector("main")?.outerHTML ?? ""; // HTML of the main element
  /** @type {Map<string, number>} */
  const gone = new Map(); // rows of pages that are not open any more, and since when

  /** @type {(node: Node) => string | undefined} */
  const keyOf = (node) => (node instanceof HTMLElement ? node.dataset.key : undefined);

  /**
   * Makes node what fresh is. An element that is in both stays, and with it the
   * focus, the selection, the place it is scrolled to and what is unfolded.
   * @type {(node: Node, fresh: Node) => void}
   */
  function update(node, fresh) {
    if (node.isEqualNode(fresh)) return;
    if (node instanceof Text && fresh instanceof Text) {
      // Appending leaves a selection in what was there.
      if (fresh.data.startsWith(node.data)) node.appendData(fresh.data.slice(node.data.length));
      else node.data = fresh.data;
    } else if (node instanceof Element && fresh instanceof Element) {
      // Output that is seen to its end is followed.
      const atEnd = node.localName === "pre" && node.scrollTop + node.clientHeight >= node.scrollHeight - 1;
      updateAttributes(node, fresh);
      updateChildren(node, fresh);
      if (atEnd) node.scrollTop = node.scrollHeight;
    }
  }

  /** @type {(node: Element, fresh: Element) => void} */
  function updateAttributes(node, fresh) {
    for (const { name, value } of fresh.attributes) {
      if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    for (const { name } of [...node.attributes]) {
      const ours = name === "open" || name === "class"; // of what is unfolded or new
      if (!ours && !fresh.hasAttribute(name)) node.removeAttribute(name);
    }
  }

  /**
   * Children with a key are the same as before when they have the same key, others
   * when they are in the same place and of the same kind.
   * @type {(node: Element, fresh: Element) => void}
   */
  function updateChildren(node, fresh) {
    const wanted = new Set([...fresh.childNodes].map(keyOf));
    /** @type {Map<string, ChildNode>} */
    const rows = new Map();
    const kept = new Set();
    for (const child of [...node.childNodes]) {
      const key = keyOf(child);
      if (key === undefined) continue;
      if (wanted.has(key)) {
        rows.set(key, child);
        gone.delete(key);
      } else if (node.id === "pages" && isReloading(key)) {
        kept.add(child);
      } else {
        child.remove();
      }
    }

    let next = node.firstChild;
    for (const child of [...fresh.childNodes]) {
      while (next && kept.has(next)) next = next.nextSibling;
      const key = keyOf(child);
      const same = key === undefined ? next : rows.get(key);
      if (!same || same.nodeName !== child.nodeName) {
        if (child instanceof Element && child.matches("#changes > *, #runs > *")) child.classList.add("new");
        node.insertBefore(child, next);
        continue;
      }
      update(same, child);
      if (same === next) next = next.nextSibling;
      else node.insertBefore(same, next);
    }
    while (next) {
      const rest = next;
      next = next.nextSibling;
      if (!kept.has(rest)) rest.remove();
    }
  }

  /** Whether a page that has gone may yet come back, as one does that is loaded again. @type {(key: string) => boolean} */
  function isReloading(key) {
    const since = gone.get(key);
    if (since === undefined) {
      gone.set(key, Date.now());
      setTimeout(show, reloadTime + 50);
      return true;
    }
    if (Date.now() - since < reloadTime) return true;
    gone.delete(key);
    return false;
  }

  /** @type {(date: string) => string} */
  function localTime(date) {
    const time = new Date(date);
    const today = time.toDateString() === new Date().toDateString();
    return today ? time.toLocaleTimeString() : time.toLocaleString([], { dateStyle: "short", timeStyle: "short" });
  }

  function show() {
    const template = document.createElement("template");
    template.innerHTML = latest;
    for (const time of template.content.querySelectorAll("time")) time.textContent = localTime(time.dateTime);
    for (const title of template.content.querySelectorAll("title")) {
      title.textContent = title.textContent.replace(/[\d:]+ UTC$/, localTime(title.dataset.time ?? ""));
    }
    narrow(template.content);
    const [main, fresh] = [document, template.content].map((within) => within.querySelector("main"));
    if (main && fresh) update(main, fresh);
  }

  // The filter. It is kept in the fragment of the page's URL, which no server is sent.
  const filter = /** @type {HTMLInputElement} */ (document.querySelector("#filter input"));

  /** Hides the rows in which not all words of the filter are. @type {(main: DocumentFragment) => void} */
  function narrow(main) {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of main.querySelectorAll("[data-key]")) {
      const text = row.textContent.toLowerCase();
      row.toggleAttribute("hidden", !words.every((word) => text.includes(word)));
    }
  }

  function readFilter() {
    filter.value = new URLSearchParams(location.hash.slice(1)).get("filter") ?? "";
    show();
  }

  filter.addEventListener("input", () => {
    const fragment = filter.value && "#" + new URLSearchParams({ filter: filter.value });
    history.replaceState(null, "", location.pathname + location.search + fragment);
    show();
  });
  addEventListener("hashchange", readFilter);

  /** @type {(state: string, text: string) => void} */
  function say(state, text) {
    const e = /** @type {HTMLElement} */ (document.getElementById("state"));
    e.dataset.state = state;
    e.textContent = text;
  }

  function follow() {
    clearTimeout(timer);
    if (source) return;
    source = new EventSource("events");
    source.onopen = () => say("live", "Live");
    source.onmessage = ({ data }) => {
      latest = data;
      show();
    };
    source.onerror = () => {
      if (source?.readyState !== EventSource.CLOSED) {
        say("lost", "Not connected; trying again");
        return;
      }
      say("lost", "Not followed: too many status pages are open, or it is off");
      source = null;
      timer = setTimeout(follow, retry);
    };
  }

  // A stream takes one of the few connections that a browser has for a server.
  function rest() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  /** @type {HTMLElement} */ (document.getElementById("filter")).hidden = false;
  readFilter();
  addEventListener("pagehide", rest);
  addEventListener("pageshow", follow);
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : follow()));
})();
