// The panel in which a page shows what is wrong: a command that failed, or a file
// that cannot be read. It is in a shadow root, in the top layer, and so looks the
// same on every page. Whatever comes from elsewhere is put into it as text.

/**
 * Makes an element of HTML, in XML too, with properties and children.
 * @type {(tag: string, properties: object, ...children: (Node | string)[]) => any}
 */
function make(tag, properties, ...children) {
  const e = Object.assign(document.createElementNS("http://www.w3.org/1999/xhtml", tag), properties);
  e.append(...children);
  return e;
}

/** What an element of ours is appended to, to be seen. In SVG that is a foreignObject. */
function topOfPage() {
  const top = document.documentElement;
  const svg = "http://www.w3.org/2000/svg";
  if (top.namespaceURI !== svg) return top;
  const frame = document.createElementNS(svg, "foreignObject");
  for (const side of ["width", "height"]) frame.setAttribute(side, "100%");
  top.append(frame);
  return frame;
}

/**
 * What is wrong. A place is a link if it has an href, and source are the lines of its
 * file from the one with the number first on; line is that of the place, if it is known.
 * Output is in pieces of one style, which has classes of the style sheet. An action is
 * the label of a button that acts.
 * @typedef {{ title: string, place?: string, href?: string, source?: string[], first?: number, line?: number, output?: string[][], text?: string, action?: string, act?: () => void }} PageError
 */

function errorPanel() {
  // Colours are those of the server's own pages; all have a contrast of 4.5 at least.
  const look =
    ":host{all:initial!important}" +
    "section{position:fixed;inset:auto 0 0;box-sizing:border-box;width:auto;max-height:50vh;margin:0;padding:14px 18px 18px;overflow:auto;overscroll-behavior:contain;overflow-wrap:anywhere;" +
    "border:0;border-top:4px solid #d33;box-shadow:0 -2px 28px #0005;background:Canvas;color:CanvasText;color-scheme:light dark;font:15px/1.5 system-ui,sans-serif;" +
    "background:light-dark(#fff,#16181d);color:light-dark(#1b2230,#e4e8ef)}" +
    "@media(max-device-width:600px)and (min-width:800px){section{font-size:36px}}" + // shown smaller
    "article+article{margin-top:1em;padding-top:1em;border-top:1px solid light-dark(#d9dde4,#343b47)}" +
    "h2{margin:0;font-size:1.07em;line-height:1.4}" +
    "p{margin:.3em 0 0}" +
    "pre,code{font:.87em/1.5 ui-monospace,monospace}" +
    "pre{margin:.6em 0 0;white-space:pre-wrap;tab-size:4}" +
    "a{color:light-dark(#0b57d0,#8ab4f8)}" +
    ".source{padding:.4em 0;border-radius:.4em;background:light-dark(#f5f7fa,#20252e)}" +
    ".source span{display:block;padding:0 .8em 0 4.6em;text-indent:-4em}" +
    ".source b{display:inline-block;width:3em;margin-right:1em;text-align:right;text-indent:0;font-weight:400;color:light-dark(#596273,#98a2b3);user-select:none}" +
    ".source .here{background:light-dark(#fde3e3,#4a2226)}" +
    ".here b{color:inherit}" +
    ".red{color:light-dark(#c0262d,#ff8a84)}" +
    ".green{color:light-dark(#1a7f37,#57c173)}" +
    ".yellow{color:light-dark(#8a5a00,#e3b341)}" +
    ".blue{color:light-dark(#0b57d0,#8ab4f8)}" +
    ".magenta{color:light-dark(#9c2a97,#e58fe0)}" +
    ".cyan{color:light-dark(#0b6e80,#5fc9d8)}" +
    ".grey,.faint,.note{color:light-dark(#596273,#98a2b3)}" +
    ".bold{font-weight:700}" +
    ".italic{font-style:italic}" +
    ".underline{text-decoration:underline}" +
    "button{position:sticky;top:0;float:right;margin:-2px 0 8px 16px;padding:.35em .8em;border:1px solid light-dark(#c3c9d3,#48515f);border-radius:.5em;" +
    "background:light-dark(#f5f7fa,#272d38);color:inherit;font:inherit;font-size:.93em;cursor:pointer}" +
    ".action{position:static;float:none;margin:.8em 0 0}" +
    "button:hover{background:light-dark(#e5e8ed,#343b47)}" +
    ":focus-visible{outline:2px solid light-dark(#0b57d0,#8ab4f8);outline-offset:2px}" +
    "kbd{margin-left:.5em;padding:0 .35em;border:1px solid;border-radius:.3em;font:.8em ui-monospace,monospace;opacity:.75}" +
    "@media(pointer:coarse){kbd{display:none}}";
  let shown = "[]";
  /** @type {any} */
  let host;

  const hide = () => host?.remove();

  /** Shows errors until there are others or none, or they are dismissed. @param {PageError[]} errors */
  function show(errors) {
    const text = JSON.stringify(errors);
    if (text === shown) return;
    shown = text;
    hide();
    if (!errors[0]) return;
    host = make("div", {});
    const root = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(look);
    root.adoptedStyleSheets = [sheet];
    const section = make("section", { role: "alert", popover: "manual" });
    root.append(section);
    topOfPage().append(host);
    section.showPopover?.();
    section.append(make("button", { onclick: hide }, "Dismiss", make("kbd", {}, "Esc")), ...errors.map(render));
  }

  /** @param {PageError} error */
  function render({ title, place, href, source, first = 1, line, output, text, action, act }) {
    const article = make("article", {}, make("h2", {}, title));
    if (place) article.append(make("p", {}, make("code", {}, href ? make("a", { href }, place) : place)));
    if (source) {
      const lines = source.map((text, i) => make("span", { className: first + i === line ? "here" : "" }, make("b", {}, `${first + i}`), text || " "));
      article.append(make("pre", { className: "source" }, ...lines));
    }
    if (output) article.append(make("pre", { className: "output" }, ...output.map(([text, style]) => (style ? make("span", { className: style }, text) : text))));
    if (text) article.append(make("p", { className: "note" }, text));
    if (action) article.append(make("button", { className: "action", onclick: act }, action));
    return article;
  }

  return { show, hide };
}
