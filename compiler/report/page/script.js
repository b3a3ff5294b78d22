"use strict";
const chooser = document.getElementById("layer");
const rasters = document.querySelectorAll("[data-raster]");
function choose() {
  rasters.forEach((r, k) => { r.hidden = k !== chooser.selectedIndex; });
}
if (chooser) { chooser.addEventListener("change", choose); choose(); }
document.querySelectorAll(".drawing").forEach((d) => {
  d.scrollLeft = (d.scrollWidth - d.clientWidth) / 2;
});
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let e = target; e; e = e.parentElement) { if (e.tagName === "DETAILS") { e.open = true; } }
  if (target) { target.scrollIntoView({ block: "center" }); }
}
addEventListener("hashchange", unfold);
unfold();
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((d) => { d.open = true; });
});
addEventListener("afterprint", () => { folded.forEach((d) => { d.open = false; }); });
