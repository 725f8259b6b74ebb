// What the reader of a page does to it is done to all open pages with the same address:
// scrolling, clicks, and what is entered into forms. It is served where sync is on.

/**
 * What a reader did: it scrolled a box, or the page where there is no place, to a share
 * of what there is to scroll; clicked an element; submitted a form without a button; or
 * changed a field.
 * @typedef {{ kind: string, where?: string, x?: number, y?: number, value?: string, checked?: boolean, selected?: boolean[] }} ReaderEvent
 */

/**
 * Tells what the reader of this page does, and returns what does to this page what
 * another reader did.
 * @param {{ on: (types: string, hear: (event: any) => void) => void, say: (message: object) => void, placeOf: (e: any) => string, elementAt: (where: string) => any, fields: string, edited: WeakSet<any> }} page
 */
function mirrorReader({ on, say, placeOf, elementAt, fields, edited }) {
  const pause = 50; // ms between two messages about scrolling and typing
  const long = 4000; // characters of a value that are mirrored at most

  let leads = false; // this reader was the last to do something
  /** @type {Map<any, "scroll" | "input">} */
  const waiting = new Map(); // what has changed since the last message, the oldest first
  let timer = 0;

  // A field that was one for a password may be made readable.
  const secret = new WeakSet();
  new MutationObserver(list => {
    for (const { target, oldValue } of list) if (/^password$/i.test(oldValue || "")) secret.add(target);
  }).observe(document, { subtree: true, attributeFilter: ["type"], attributeOldValue: true });
  const isField = (/** @type {any} */ e) => e.matches(fields) && !/one-time-code/.test(e.autocomplete) && !secret.has(e);

  /** @type {(position: number, room: number) => number} */
  const share = (position, room) => (room > 0 ? position / room : 0);

  /** @type {(e: any, kind: "scroll" | "input") => void} */
  function tellSoon(e, kind) {
    waiting.delete(e);
    waiting.set(e, kind);
    timer ||= setTimeout(flush, pause);
  }

  function flush() {
    clearTimeout(timer);
    timer = 0;
    for (const [e, kind] of waiting) {
      if (!e.isConnected) continue;
      const where = e === document.scrollingElement && kind === "scroll" ? "" : placeOf(e);
      if (kind === "scroll") tell({ kind, where, x: share(e.scrollLeft, e.scrollWidth - e.clientWidth), y: share(e.scrollTop, e.scrollHeight - e.clientHeight) });
      else if (e.localName === "select") tell({ kind, where, selected: [...e.options].map(option => option.selected) });
      else if (/^(checkbox|radio)$/.test(e.type)) tell({ kind, where, checked: e.checked });
      else if (e.value.length < long) tell({ kind, where, value: e.value });
    }
    waiting.clear();
  }

  /** @param {ReaderEvent} event */
  const tell = event => say({ command: "sync", event });

  on("pointerdown keydown wheel touchmove", ({ isTrusted }) => (leads ||= isTrusted));
  on("scroll", ({ target }) => {
    if (leads) tellSoon(target === document ? document.scrollingElement : target, "scroll");
  });
  on("input", ({ target, isTrusted }) => isTrusted && isField(target) && tellSoon(target, "input"));
  on("click", event => {
    const { target, isTrusted, button, ctrlKey, metaKey, shiftKey, altKey } = event;
    if (!isTrusted || button || ctrlKey || metaKey || shiftKey || altKey || event.composedPath()[0] !== target) return;
    // Fields are mirrored by what they become, and the click on a label is one on its field.
    if (target.matches("input:not([type=button], [type=submit], [type=reset], [type=image]), textarea, select, option")) return;
    const label = target.closest("label, a[href], button, summary");
    if (label?.control && label.control !== target) return;
    flush();
    tell({ kind: "click", where: placeOf(target) });
  });
  on("submit", ({ target, isTrusted, submitter }) => {
    if (!isTrusted || submitter) return; // whose click is told
    flush();
    tell({ kind: "submit", where: placeOf(target) });
  });

  return (/** @type {ReaderEvent} */ { kind, where, x, y, value, checked, selected }) => {
    const e = where ? elementAt(where) : document.scrollingElement;
    if (!e) return;
    leads = false; // so that what comes of this is told to nobody
    if (kind === "scroll") {
      e.scrollTo({ left: (x || 0) * (e.scrollWidth - e.clientWidth), top: (y || 0) * (e.scrollHeight - e.clientHeight), behavior: "instant" });
    }
    if (kind === "click") e.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, composed: true, view: window }));
    if (kind === "submit") e.requestSubmit?.();
    if (kind !== "input" || !isField(e)) return;
    edited.add(e); // which a reload gives back
    // Past what a framework has put upon the element itself.
    const set = (/** @type {string} */ name, /** @type {any} */ to) => to !== undefined && Reflect.set(Object.getPrototypeOf(e), name, to, e);
    set("value", value);
    set("checked", checked);
    selected?.forEach((on, i) => e.options?.[i] && (e.options[i].selected = on));
    for (const type of ["input", "change"]) e.dispatchEvent(new Event(type, { bubbles: true }));
  };
}

