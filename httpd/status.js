// The status page, kept up to date. Without this script it shows what was when
// it was loaded.
(() => {
  "use strict";

  /** @typedef {{ key: string | number, name: string, href: string }} Spot */
  /** @typedef {Spot & { remote: string, since: number, summary: string, uses: string[], usesRest: string }} Page */
  /** @typedef {Spot & { what: string }} Effect */
  /** @typedef {{ key: number, when: number, files: string[], filesRest: string, effects: Effect[], rest: string }} Change */
  /** @typedef {{ key: string, start: number, route: string, state: string, outcome: string, command: string, paths: string[], pathsRest: string, output: string }} Run */
  /** @typedef {{ key: number, root: string, watched: number, unwatched: number }} Watch */
  /** @typedef {{ key: number, title: string, text: string, about: string }} Fault */
  /** @typedef {{ owner: boolean, open: number, pages: Page[], pagesRest: string, changed: number, changes: Change[], runs: Run[], watched: number, watches: Watch[], errors: Fault[] }} Snapshot */

  const again = 10000; // ms until the next try, where the server wants no more of us
  const absence = 2000; // ms that a page may take to be loaded again

  /** @type {EventSource | null} */
  let source = null;
  let timer = 0;
  /** @type {Snapshot | null} */
  let last = null;
  /** @type {Map<string | number, Page & { gone: number }>} */
  const listed = new Map(); // pages, and since when they are gone; 0: they are there

  /** @type {(selector: string, within?: ParentNode) => HTMLElement} */
  const find = (selector, within = document) => /** @type {HTMLElement} */ (within.querySelector(selector));

  /** Leaves an element alone that has the text already. @type {(e: Element, text: string | number) => void} */
  function write(e, text) {
    if (e.textContent !== String(text)) e.textContent = String(text);
  }

  /** @type {(e: Element, ms: number) => void} */
  function writeTime(e, ms) {
    const time = new Date(ms);
    const today = time.toDateString() === new Date().toDateString();
    e.setAttribute("datetime", time.toISOString());
    write(e, today ? time.toLocaleTimeString() : time.toLocaleString([], { dateStyle: "short", timeStyle: "short" }));
  }

  /** @type {(within: Element, spot: Spot) => void} */
  function writeSpot(within, { name, href }) {
    const link = find(".name", within);
    write(link, name);
    if (href) link.setAttribute("href", href);
    else link.removeAttribute("href");
  }

  /** @param {string} id */
  function newRow(id) {
    const row = /** @type {HTMLTemplateElement} */ (document.getElementById(id)).content.firstElementChild;
    return /** @type {Element} */ (row?.cloneNode(true));
  }

  /**
   * Makes the children of parent those of the items. Each keeps its element
   * for as long as it is there, and with it the focus and what is unfolded.
   * @template {{ key: string | number }} T
   * @param {Element} parent
   * @param {T[]} items
   * @param {() => Element} make
   * @param {(row: Element, item: T) => void} fill
   */
  function list(parent, items, make, fill) {
    const keys = new Set(items.map((item) => String(item.key)));
    /** @type {Map<string | null, Element>} */
    const rows = new Map();
    for (const row of [...parent.children]) {
      const key = row.getAttribute("data-key");
      if (key !== null && keys.has(key)) rows.set(key, row);
      else row.remove();
    }
    let next = parent.firstElementChild;
    for (const item of items) {
      const key = String(item.key);
      const row = rows.get(key) || make();
      if (!rows.has(key)) row.setAttribute("data-key", key);
      fill(row, item);
      if (row === next) next = next.nextElementSibling;
      else parent.insertBefore(row, next);
    }
  }

  /** @type {(parent: Element, texts: string[], tag: string) => void} */
  function listTexts(parent, texts, tag) {
    const items = [...new Set(texts)].map((key) => ({ key }));
    list(parent, items, () => document.createElement(tag), (e, { key }) => write(e, key));
  }

  /** @type {(row: Element, page: Page) => void} */
  function fillPage(row, page) {
    writeSpot(row, page);
    for (const e of row.querySelectorAll(".summary")) write(e, page.summary);
    find("span.summary", row).hidden = page.uses.length > 0;
    find("details", row).hidden = page.uses.length === 0;
    listTexts(find(".list", row), page.uses, "li");
    write(find(".remote", row), page.remote);
    write(find(".more", row), page.usesRest);
    writeTime(find("time", row), page.since);
  }

  /** @type {(row: Element, change: Change) => void} */
  function fillChange(row, change) {
    writeTime(find("time", row), change.when);
    listTexts(find(".list", row), change.files, "code");
    write(find(".rest", row), change.filesRest);
    write(find(".more", row), change.rest);
    list(find(".effects", row), change.effects, () => newRow("effect-row"), (e, effect) => {
      writeSpot(e, effect);
      write(find(".what", e), effect.what);
    });
  }

  /** @type {(row: Element, run: Run) => void} */
  function fillRun(row, run) {
    row.setAttribute("data-state", run.state);
    writeTime(find("time", row), run.start);
    write(find(".name", row), run.route);
    write(find(".outcome", row), run.outcome);
    write(find(".command", row), run.command);
    listTexts(find(".list", row), run.paths, "code");
    write(find(".rest", row), run.pathsRest);
    find("details", row).hidden = run.output === "";
    writeOutput(find(".text", row), run.output);
  }

  /**
   * Keeps what is selected, if text begins with what is there, and the place:
   * the end, if that is what is seen, so that one can watch what is written.
   * @type {(e: Element, text: string) => void}
   */
  function writeOutput(e, text) {
    const old = e.textContent || "";
    if (text === old) return;
    const { scrollTop } = e;
    const ended = scrollTop + e.clientHeight >= e.scrollHeight - 1;
    if (text.startsWith(old)) e.append(text.slice(old.length));
    else e.textContent = text;
    e.scrollTop = ended ? e.scrollHeight : scrollTop;
  }

  /** @type {(row: Element, watch: Watch) => void} */
  function fillWatch(row, watch) {
    write(find(".name", row), watch.root);
    write(find(".watched", row), watch.watched);
    write(find(".unwatched", row), watch.unwatched);
  }

  /** @type {(row: Element, fault: Fault) => void} */
  function fillError(row, fault) {
    write(find(".title", row), fault.title);
    write(find(".text", row), fault.text);
    write(find(".about", row), fault.about);
  }

  /** Shows a table or list, or else that it is empty. @type {(id: string, any: boolean) => void} */
  function choose(id, any) {
    const shown = find("#" + id);
    const empty = shown.closest("section")?.querySelector(".empty");
    const whole = shown.closest("table") || shown;
    whole.hidden = !any;
    if (empty instanceof HTMLElement) empty.hidden = any;
  }

  /**
   * The pages to list. One that is loaded again goes and comes, and keeps its
   * row meanwhile.
   * @param {Page[]} pages
   */
  function present(pages) {
    const here = new Set(pages.map((page) => page.key));
    for (const page of pages) listed.set(page.key, { ...page, gone: 0 });
    for (const [key, page] of listed) {
      if (here.has(key)) continue;
      if (!page.gone) {
        page.gone = Date.now();
        setTimeout(() => last && show(last), absence + 50);
      } else if (Date.now() - page.gone >= absence) {
        listed.delete(key);
      }
    }
    if (listed.size === pages.length) return pages;
    return [...listed.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** @param {Snapshot} now */
  function show(now) {
    last = now;
    const pages = present(now.pages);
    find("#guest").hidden = now.owner;
    write(find("#open"), now.open);
    write(find("#changed"), now.changed);
    write(find("#watched"), now.watched);
    write(find("#wrong"), now.errors.length);
    list(find("#pages"), pages, () => newRow("page-row"), fillPage);
    write(find("#pages-rest"), now.pagesRest);
    list(find("#changes"), now.changes, () => arrive("change-row"), fillChange);
    list(find("#runs"), now.runs, () => arrive("run-row"), fillRun);
    list(find("#watches"), now.watches, () => newRow("watch-row"), fillWatch);
    list(find("#errors"), now.errors, () => newRow("error-row"), fillError);
    choose("pages", pages.length > 0);
    choose("changes", now.changes.length > 0);
    choose("runs", now.runs.length > 0);
    choose("watches", now.watches.length > 0);
    /** @type {HTMLElement} */ (find("#errors").closest("section")).hidden = now.errors.length === 0;
  }

  /** @param {string} id */
  function arrive(id) {
    const row = newRow(id);
    row.classList.add("new");
    return row;
  }

  /** @type {(state: string, text: string) => void} */
  function say(state, text) {
    const e = find("#state");
    e.dataset.state = state;
    write(e, text);
  }

  function follow() {
    clearTimeout(timer);
    if (source) return;
    source = new EventSource("events");
    source.onopen = () => say("live", "Live");
    source.onmessage = (event) => show(JSON.parse(event.data));
    source.onerror = () => {
      if (source?.readyState !== EventSource.CLOSED) {
        say("lost", "Not connected; trying again");
        return;
      }
      say("lost", "Not followed: too many status pages are open, or it is off");
      source = null;
      timer = setTimeout(follow, again);
    };
  }

  // A stream takes one of the few connections that a browser has for a server.
  function rest() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  addEventListener("pagehide", rest);
  addEventListener("pageshow", follow);
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : follow()));
})();
