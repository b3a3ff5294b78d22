// What belongs together: links, folds, and everything about one layer.
const strip = document.getElementById("strip");
const cards = [...document.querySelectorAll("[data-card]")];
const chooser = document.getElementById("layer");
const about = new Map();
for (const e of document.querySelectorAll("[data-l]")) {
  for (const k of e.dataset.l.split(" ")) {
    if (!about.has(k)) { about.set(k, []); }
    about.get(k).push(e);
  }
}
let source = null;
function light(from) {
  if (from === source) { return; }
  document.querySelectorAll(".lit").forEach((e) => e.classList.remove("lit"));
  source = from;
  strip.hidden = !from;
  if (!from) { return; }
  const own = from.dataset.l.split(" ");
  own.forEach((k) => about.get(k).forEach((e) => e.classList.add("lit")));
  const first = cards[own[0]] ? cards[own[0]].dataset.brief : "";
  strip.textContent = own.length > 1 ? `${first} … and ${own.length - 1} more layers` : first;
}
function near(event) {
  const place = event.target.closest ? event.target : document.body;
  light(place.closest("[data-l]:not([data-card])"));
}
addEventListener("pointerover", near);
addEventListener("focusin", near);
document.documentElement.addEventListener("pointerleave", () => light(null));

function choose(k) {
  cards.forEach((card, n) => { card.hidden = n !== k; });
  chooser.selectedIndex = k;
  if (typeof drawTraces === "function") { drawTraces(k); }
}
if (chooser) { chooser.addEventListener("change", () => choose(chooser.selectedIndex)); }

function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) { return; }
  if (target.matches("[data-card]")) { choose(cards.indexOf(target)); }
  for (let e = target; e; e = e.parentElement) {
    if (e.tagName === "DETAILS") { e.open = true; }
    if (e.matches(".part")) { shut(e, false); }
  }
  target.scrollIntoView({ block: "center", inline: "center" });
}
addEventListener("hashchange", unfold);
addEventListener("load", unfold);

let folded = [];
addEventListener("beforeprint", () => {
  light(null);
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((d) => { d.open = true; });
});
addEventListener("afterprint", () => { folded.forEach((d) => { d.open = false; }); });
