// What scrolls sideways can be scrolled by keys, and screen readers say what it is. The theme does
// this for code alone, without a name, and only where there is a mouse: a tablet's keyboard, and
// what wide tables stand in, are left out. What does not scroll is no stop for the Tab key.
"use strict";
(() => {
  const KINDS = {
    ".md-typeset pre > code": "Code",
    ".md-typeset__scrollwrap": "Table",
    ".md-typeset .output": "Output",
  };
  const headed = (e) => {
    const above = [...document.querySelectorAll(".md-content :is(h1, h2, h3, h4)")].filter(
      (h) => h.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING,
    );
    return above.at(-1)?.firstChild?.textContent.trim() ?? "";
  };
  const reach = (e, kind) => {
    const scrolls = e.scrollWidth > e.clientWidth;
    const heading = scrolls ? headed(e) : "";
    const said = { tabindex: "0", role: "group", "aria-label": heading ? `${kind}: ${heading}` : kind };
    for (const [name, value] of Object.entries(said)) {
      if (!scrolls) e.removeAttribute(name);
      else if (e.getAttribute(name) !== value) e.setAttribute(name, value);
    }
  };
  addEventListener("load", () => {
    for (const [selector, kind] of Object.entries(KINDS)) {
      for (const e of document.querySelectorAll(selector)) {
        const again = () => reach(e, kind);
        new ResizeObserver(again).observe(e);
        // The theme takes the attribute off again, or puts it where nothing scrolls.
        new MutationObserver(again).observe(e, { attributeFilter: ["tabindex"] });
        again();
      }
    }
  });
})();
