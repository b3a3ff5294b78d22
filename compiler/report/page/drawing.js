// Folding and zooming of the drawing.
const drawing = document.getElementById("drawing");
const network = drawing && drawing.querySelector("svg");
const parts = network ? [...network.querySelectorAll(".part")] : [];
const MANY = 24; // operations above which parts begin folded
let scale = 1;
function resize() {
  const box = network.viewBox.baseVal;
  network.style.width = `${box.width * scale}px`;
  network.style.height = `${box.height * scale}px`;
}
function lay() {
  let y = 8, wide = 0; // as wide as what is shown
  for (const part of parts) {
    const low = part.classList.contains("shut");
    part.setAttribute("transform", `translate(${part.dataset.x} ${y})`);
    y += Number(low ? part.dataset.low : part.dataset.high);
    wide = Math.max(wide, Number(low ? part.dataset.narrow : part.dataset.wide));
  }
  const box = network.viewBox.baseVal;
  box.x = Number(parts[0].dataset.x) - wide / 2;
  box.width = wide;
  box.height = y + 8;
  resize();
}
function shut(part, yes) {
  if (part.dataset.size === "1") { return; }
  part.classList.toggle("shut", yes);
  lay();
}
function zoom(to, x = drawing.clientWidth / 2, y = drawing.clientHeight / 2) {
  const before = scale;
  scale = Math.min(4, Math.max(0.1, to));
  const move = scale / before;
  const left = (drawing.scrollLeft + x) * move - x;
  const top = (drawing.scrollTop + y) * move - y;
  resize();
  drawing.scrollTo(left, top);
}
function fit() {
  zoom(Math.min(1, (drawing.clientWidth - 4) / network.viewBox.baseVal.width));
  drawing.scrollLeft = (drawing.scrollWidth - drawing.clientWidth) / 2;
}
function turn(button) {
  const part = button.closest(".part");
  const yes = button.matches(".handle");
  shut(part, yes);
  part.querySelector(yes ? ".folded" : ".handle").focus({ preventScroll: true });
}
if (network) {
  const act = {
    "zoom-in": () => zoom(scale * 1.25),
    "zoom-out": () => zoom(scale / 1.25),
    "zoom-fit": fit,
    "fold-all": () => { parts.forEach((p) => shut(p, true)); fit(); },
    "unfold-all": () => { parts.forEach((p) => shut(p, false)); fit(); },
  };
  for (const [name, run] of Object.entries(act)) {
    document.getElementById(name).addEventListener("click", run);
  }
  document.getElementById("tools").hidden = false;
  network.addEventListener("click", (event) => {
    const button = event.target.closest("[role=button]");
    if (button) { turn(button); }
  });
  drawing.addEventListener("keydown", (event) => {
    const keys = { "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", 0: "zoom-fit" };
    const button = event.target.closest("[role=button]");
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (button && (event.key === "Enter" || event.key === " ")) { turn(button); }
    else if (keys[event.key]) { act[keys[event.key]](); }
    else { return; }
    event.preventDefault();
  });
  drawing.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) { return; }
    event.preventDefault();
    const box = drawing.getBoundingClientRect();
    zoom(scale * Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  if (parts.reduce((n, p) => n + Number(p.dataset.size), 0) > MANY) {
    parts.forEach((p) => { p.classList.toggle("shut", p.dataset.size !== "1"); });
  }
  lay();
  fit();
}
