// The raster and the membrane of the chosen layer, from the data block.
const golden = document.getElementById("golden");
const kept = golden ? JSON.parse(golden.textContent) : null;
function bytes(text) { return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)); }
// (sample, neuron, step) one after the other, the highest bit of a byte first.
function bits(text, count) {
  const packed = bytes(text);
  return Array.from({ length: count }, (_, k) => (packed[k >> 3] >> (7 - (k & 7))) & 1);
}
// Changes from step to step: seven bits a byte, the lowest first; 2 x, or -2 x - 1 below zero.
function levels(text, steps) {
  const found = [];
  let value = 0, place = 1, before = 0;
  for (const b of bytes(text)) {
    value += (b & 127) * place;
    place *= 128;
    if (b > 127) { continue; }
    before = (found.length % steps ? before : 0) + (value % 2 ? -(value + 1) / 2 : value / 2);
    found.push(before / kept.unit);
    value = 0;
    place = 1;
  }
  return found;
}
function shape(tag, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) { e.setAttribute(k, v); }
  if (text !== undefined) { e.textContent = text; }
  return e;
}
function plot(id, words, width, height, shapes) {
  const figure = document.getElementById(id);
  const box = { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": words };
  const svg = shape("svg", box);
  svg.append(...shapes);
  figure.querySelector("figcaption").textContent = words;
  figure.querySelector(".plot").replaceChildren(svg);
  figure.hidden = false;
  return svg;
}
const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const round = (x) => String(Math.round(x * 100) / 100);
const sampleOf = document.getElementById("sample");
const neuronOf = document.getElementById("neuron");
let shown = null; // { k, own, spikes, membranes } of the chosen layer

function drawTraces(k) {
  if (!kept) { return; }
  const own = kept.layers[k];
  for (const id of ["spikes", "membrane", "in-numbers"]) { document.getElementById(id).hidden = true; }
  document.getElementById("silent").hidden = Boolean(own);
  neuronOf.disabled = sampleOf.disabled = !own;
  shown = null;
  if (!own) { neuronOf.replaceChildren(); return; }
  const count = kept.samples * own.n.length * kept.steps;
  shown = {
    k, own,
    spikes: own.s === undefined ? null : bits(own.s, count),
    membranes: own.m === undefined ? null : levels(own.m, kept.steps),
  };
  neuronOf.replaceChildren(...own.n.map((n, at) => new Option(String(n), String(at))));
  neuronOf.selectedIndex = telling(own.n.length);
  redraw();
}
// The neuron to look at first: one that fires, but whose membrane does not always rest after it.
function telling(count) {
  let best = 0, most = [-1, 0, 0, 0];
  for (let at = 0; at < count; at += 1) {
    const values = row("membranes", at), fired = row("spikes", at).filter(Boolean).length;
    const reach = values.length ? Math.max(...values) - Math.min(...values) : 0;
    const says = [fired > 0, new Set(values).size, reach, fired].map(Number);
    const k = says.findIndex((x, i) => x !== most[i]);
    if (k >= 0 && says[k] > most[k]) { best = at; most = says; }
  }
  return best;
}
function row(kind, at) {
  if (!shown[kind]) { return []; }
  const start = (sampleOf.selectedIndex * shown.own.n.length + at) * kept.steps;
  return shown[kind].slice(start, start + kept.steps);
}
function redraw() {
  if (!shown) { return; }
  if (shown.spikes) { raster(); }
  if (shown.membranes) { membrane(); }
  numbers();
}
function raster() {
  const rows = shown.own.n.length, steps = kept.steps;
  const w = Math.max(2, Math.min(28, 640 / steps)), h = rows > 32 ? 5 : 8, left = 64;
  let path = "", total = 0;
  for (let at = 0; at < rows; at += 1) {
    row("spikes", at).forEach((s, t) => {
      if (s) { path += `M${left + t * w + 1} ${(at + 0.5) * h}h${w - 1.5}`; total += 1; }
    });
  }
  const chosen = neuronOf.selectedIndex;
  const shapes = [
    shape("rect", { x: left, y: 0, width: w * steps, height: h * rows, class: "field" }),
    shape("rect", { x: left, y: chosen * h, width: w * steps, height: h, class: "chosen" }),
    shape("path", { d: path, class: "spikes", "stroke-width": h - 1 }),
    shape("text", { x: left - 6, y: 10, class: "tick-label end" }, shown.own.n[0]),
    shape("text", { x: left - 6, y: h * rows, class: "tick-label end" }, shown.own.n[rows - 1]),
    shape("text", { x: left, y: h * rows + 14, class: "tick-label" }, `step 0 to ${steps - 1}`),
  ];
  const share = round(100 * total / (rows * steps));
  const words = `Spikes of ${cards[shown.k].querySelector("h3").textContent}, golden sample `
    + `${sampleOf.value}: ${rows} of ${shown.own.of} neurons, a row for each; ${share} % of the `
    + "places hold a spike. The chosen neuron is shaded; click on a row to choose it.";
  // The text below needs its room, however few the steps.
  const svg = plot("spikes", words, left + Math.max(w * steps, 96) + 2, h * rows + 18, shapes);
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const y = (event.clientY - box.top) * (h * rows + 18) / box.height;
    if (y < h * rows) { neuronOf.selectedIndex = Math.floor(y / h); redraw(); }
  });
}
function membrane() {
  const at = neuronOf.selectedIndex, values = row("membranes", at), fired = row("spikes", at);
  const all = (cards[shown.k].dataset.t || "").split(" ").filter(Boolean).map(Number);
  const said = shown.own.t ? shown.own.t.slice(at, at + 1).filter((v) => v !== null) : all;
  const low = Math.min(0, ...values, ...said), high = Math.max(0, ...values, ...said);
  // As wide as there is room: a drawing that is made smaller has letters that nobody can read.
  const room = document.getElementById("cards").clientWidth - 66;
  const left = 64, width = Math.max(200, Math.min(640, room)), height = 140;
  const w = width / values.length, x = (t) => left + (t + 0.5) * w;
  const y = (v) => 14 + (height - 28) * (high - v) / ((high - low) || 1);
  const line = values.map((v, t) => `${t ? "L" : "M"}${round(x(t))} ${round(y(v))}`).join("");
  const shapes = [
    shape("rect", { x: left, y: 0, width, height, class: "field" }),
    shape("path", { d: `M${left} ${y(0)}h${width}`, class: "rule" }),
    ...said.map((v) => shape("path", { d: `M${left} ${round(y(v))}h${width}`, class: "threshold" })),
    shape("path", { d: line, class: "trace first" }),
    ...values.map((v, t) => shape("circle", { cx: x(t), cy: y(v), r: 2.5, class: "dot first" })),
    ...fired.flatMap((s, t) => s ? [shape("path", { d: `M${x(t)} 0v10`, class: "tick first" })] : []),
    ...[...new Set([low, high, 0, ...said])].map((v) =>
      shape("text", { x: left - 6, y: y(v) + 4, class: "tick-label end" }, round(v))),
    shape("text", { x: left, y: height + 14, class: "tick-label" }, `step 0 to ${values.length - 1}`),
  ];
  const limits = [...new Set(said)].map(round).join(" to ");
  const whose = said.length > 1 ? "lowest and highest threshold of the layer," : "its threshold";
  const dashed = limits ? `; dashed: ${whose} ${limits}` : fired.length ? "" : "; it never fires";
  const words = `Membrane of neuron ${shown.own.n[at]} after the reset, in weights${dashed}; `
    + (fired.length ? `marks on top: ${counted(fired.reduce((a, b) => a + b, 0), "spike")} in ` : "")
    + `${counted(values.length, "step")}.`;
  plot("membrane", words, left + width + 2, height + 18, shapes);
}
function numbers() {
  const at = neuronOf.selectedIndex, values = row("membranes", at), fired = row("spikes", at);
  const table = document.createElement("table");
  table.createCaption().textContent = `Neuron ${shown.own.n[at]}, golden sample ${sampleOf.value}`;
  const head = table.createTHead().insertRow();
  for (const name of ["step", "membrane after the reset", "spike"]) {
    const th = document.createElement("th");
    th.scope = "col";
    th.textContent = name;
    head.append(th);
  }
  const body = table.createTBody();
  for (let t = 0; t < kept.steps; t += 1) {
    const tr = body.insertRow();
    const cells = [t, t in values ? String(values[t]) : "not recorded", t in fired ? fired[t] : "never"];
    cells.forEach((text) => { tr.insertCell().textContent = text; });
  }
  document.getElementById("numbers").replaceChildren(table);
  document.getElementById("in-numbers").hidden = false;
}
if (kept) {
  sampleOf.addEventListener("change", redraw);
  neuronOf.addEventListener("change", redraw);
  // Begin with a layer of which there is something to see.
  choose(Number(Object.keys(kept.layers)[0]));
}
