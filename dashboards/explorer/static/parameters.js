"use strict";
// Parallel coordinates: a line a student, an axis a parameter. Dragging along an axis selects; so do the
// arrow keys on an axis that has the focus. Drawn on a canvas: Plotly's takes a second for as many lines.

const LINES = 2000; // through the parameters: more are a blur
const SHADES = 16; // of the rank in score
const TOP = 46, BOTTOM = 14, SIDE = 52; // px around the axes
const SNAP = 0.03; // of an axis, that a pointer may be off its ends
const STEP = 0.02; // of an axis, that a key moves an end by

const parallel = { dimensions: [], ranges: new Map(), ranks: null, rankedBy: "" };

// ---- axes ---------------------------------------------------------------------------------------

// Every axis maps its values to 0 (bottom) … 1 (top); students that have no value are NaN.
function dimensionsOf() {
  const found = data.params.map((one) => (one.kind === "choice" ? choices(one.name, one.values) : numbers(one.name, one.values, one.log)));
  found.push(numbers(scoreName($("score").value), column("y"), false, "score"));
  found.push(numbers(AXIS[$("axis").value], column("x"), column("x").every((v) => v === null || v > 0), "cost"));
  return found;
}

function numbers(name, values, log, key = name) {
  const unit = log ? Math.log10 : Number;
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null && (!log || v > 0)) { low = Math.min(low, v); high = Math.max(high, v); }
  const from = unit(low), span = unit(high) - from || 1;
  const flat = low === high; // one value lies in the middle
  const at = Float32Array.from(values, (v) => (v === null || (log && v <= 0) ? NaN : flat ? 0.5 : (unit(v) - from) / span));
  const where = (v) => (flat ? 0.5 : (unit(v) - from) / span);
  const back = (share) => (flat ? low : log ? 10 ** (from + share * span) : from + share * span);
  const ticks = low > high ? [] : (fewValues(values) || ticksOf(low, high, log)).map((v) => [where(v), number(v, 3)]);
  return { key, name, at, ticks, share: where, value: back, say: (share) => number(back(share), 3) };
}

// Those of a parameter that has a handful, as widths do; ticks stand at them.
function fewValues(values) {
  const found = new Set();
  for (const v of values) if (v !== null && found.add(v).size > 6) return null;
  return [...found];
}

function choices(name, values) {
  const known = [...new Set(values.filter((v) => v !== null && v !== "none"))].sort(), all = values.includes("none") ? ["none", ...known] : known;
  const where = new Map(all.map((v, k) => [v, all.length > 1 ? k / (all.length - 1) : 0.5]));
  return {
    key: name, name, at: Float32Array.from(values, (v) => where.get(v) ?? NaN), ticks: all.map((v) => [where.get(v), shortened(v, 14)]),
    share: (at) => (at.all.join() === all.join() ? at.share : undefined), value: (share) => ({ all, share }),
    say: (share) => all[Math.min(Math.max(Math.round(share * (all.length - 1)), 0), all.length - 1)],
  };
}

function ticksOf(low, high, log) {
  const found = [];
  if (log) {
    const wide = Math.log10(high / low) > 2;
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) for (const m of wide ? [1] : [1, 2, 5]) found.push(m * 10 ** e);
  } else {
    const rough = (high - low) / 4 || 1, size = 10 ** Math.floor(Math.log10(rough));
    const step = size * ([1, 2, 5, 10].find((m) => m * size >= rough) || 10);
    for (let v = Math.ceil(low / step) * step; v <= high; v += step) found.push(Number(v.toPrecision(12)));
  }
  return found.filter((v) => v >= low && v <= high);
}

// Keep ranges for a study that has grown; returns what puts them back on its axes.
function keptRanges() {
  const kept = parallel.dimensions.filter((one) => parallel.ranges.has(one.key)).map((one) => [one, parallel.ranges.get(one.key)]);
  return () => {
    parallel.ranges.clear();
    parallel.dimensions = dimensionsOf();
    for (const [before, range] of kept) {
      const now = parallel.dimensions.find((one) => one.key === before.key);
      const ends = now && range.map((share) => now.share(before.value(share)));
      if (ends && ends.every((end) => end !== undefined)) parallel.ranges.set(now.key, ends);
    }
  };
}

// ---- drawing ------------------------------------------------------------------------------------

function drawParameters() {
  parallel.dimensions = dimensionsOf();
  for (const key of parallel.ranges.keys()) if (!parallel.dimensions.some((one) => one.key === key)) parallel.ranges.delete(key);
  $("parameters").style.minWidth = `${parallel.dimensions.length * 92 + 2 * SIDE}px`;
  $("axes").replaceChildren(...parallel.dimensions.map(axisNode));
  rank();
  paintParameters();
}

// The rank of each student in the score shown, as one of so many shades.
function rank() {
  const by = `${$("score").value} ${$("split").value} ${data.trial.length}`;
  if (parallel.rankedBy === by) return;
  const score = column("y"), order = Uint32Array.from(score.keys()).filter((i) => score[i] !== null).sort((a, b) => score[a] - score[b]);
  parallel.ranks = new Int8Array(score.length).fill(-1);
  order.forEach((i, k) => { parallel.ranks[i] = Math.min(Math.floor((k * SHADES) / order.length), SHADES - 1); });
  parallel.rankedBy = by;
}

const axisAt = (k, wide) => SIDE + (parallel.dimensions.length > 1 ? (k * (wide - 2 * SIDE)) / (parallel.dimensions.length - 1) : 0);

function paintParameters() {
  const wide = $("parameters").clientWidth, high = $("parameters").clientHeight, count = parallel.dimensions.length;
  const ink = cleared($("lines"), { left: 0, top: 0, wide, high, width: wide, height: high });
  const length = high - TOP - BOTTOM, xs = parallel.dimensions.map((_, k) => axisAt(k, wide));
  for (const [k, node] of [...$("axes").children].entries()) node.style.left = `${xs[k]}px`;
  const shown = drawnLines(), shades = Array.from({ length: SHADES + 1 }, () => []);
  for (const i of shown) shades[!picked || picked[i] ? parallel.ranks[i] + 1 : 0].push(i);
  ink.lineWidth = shown.length > 300 ? 1 : 1.4;
  for (const [shade, indices] of shades.entries()) {
    if (!indices.length) continue;
    ink.globalAlpha = shade ? 0.85 : 0.45;
    ink.strokeStyle = shade ? ranked((shade - 1) / (SHADES - 1)) : colour("path");
    ink.beginPath();
    for (const i of indices) {
      let pen = false;
      for (let k = 0; k < count; k++) {
        const share = parallel.dimensions[k].at[i];
        if (Number.isNaN(share)) { pen = false; continue; }
        const y = TOP + (1 - share) * length;
        if (pen) ink.lineTo(xs[k], y); else ink.moveTo(xs[k], y);
        pen = true;
      }
    }
    ink.stroke();
  }
  ink.restore();
  const all = data.trial.length;
  $("parameters-hint").textContent = shown.length < all ? ` ${whole(shown.length)} of ${whole(all)} are drawn: the front, the selection, and others evenly.` : "";
}

function ranked(share) {
  const scale = RANKS[document.documentElement.dataset.theme], at = share * (scale.length - 1), k = Math.min(Math.floor(at), scale.length - 2);
  const mixed = scale[k].map((from, part) => Math.round(from + (scale[k + 1][part] - from) * (at - k)));
  return `rgb(${mixed.join(",")})`;
}

// The front first, then what is selected, then others, evenly chosen.
function drawnLines() {
  const total = data.trial.length;
  if (total <= LINES) return [...data.trial.keys()];
  const chosen = new Set(frontOrder.slice(0, LINES / 2));
  const selection = picked ? [...data.trial.keys()].filter((i) => picked[i]) : [];
  for (const pool of [selection, [...data.trial.keys()]]) {
    const step = Math.max(1, Math.ceil(pool.length / Math.max(1, LINES - chosen.size)));
    for (let i = 0; i < pool.length && chosen.size < LINES; i += step) chosen.add(pool[i]);
  }
  return [...chosen];
}

function axisNode(dimension) {
  const label = { score: dimension.name, cost: dimension.name }[dimension.key] || dimension.name.split(".").slice(-2).join(".");
  const range = make("div", { class: "range", hidden: true });
  const node = make("div", { class: "axis", tabindex: 0, role: "group", "data-key": dimension.key, title: dimension.name, "aria-label": spoken(dimension),
    on: { pointerdown: (event) => beginBrush(event, dimension, node), keydown: (event) => brushByKey(event, dimension, node) } },
    make("span", { class: "name" }, label.replace(/[._]/g, "$&\u200b")), // lines end there
   
    ...dimension.ticks.map(([share, text]) => make("span", { class: "tick", style: `bottom: ${share * 100}%` }, text)), range);
  showRange(dimension, node);
  return node;
}

// ---- selecting ----------------------------------------------------------------------------------

function spoken(dimension) {
  const range = parallel.ranges.get(dimension.key);
  const ends = range ? `${dimension.say(range[0])} to ${dimension.say(range[1])} selected` : "all selected";
  return `${dimension.name}: ${ends}. Up and down move the lower end, with Shift the upper end, Delete selects all.`;
}

function showRange(dimension, node) {
  const range = parallel.ranges.get(dimension.key), bar = node.querySelector(".range");
  bar.hidden = !range;
  if (range) {
    bar.style.bottom = `${range[0] * 100}%`;
    bar.style.height = `${(range[1] - range[0]) * 100}%`;
  }
  node.setAttribute("aria-label", spoken(dimension));
}

function setRange(dimension, node, range) {
  if (range) parallel.ranges.set(dimension.key, range); else parallel.ranges.delete(dimension.key);
  showRange(dimension, node);
  soon("brush", () => { byParameters = readParameters(); afterBrush(); });
}

function beginBrush(event, dimension, node) {
  if (event.button !== 0) return;
  const box = node.getBoundingClientRect();
  const share = (y) => { const at = (box.bottom - y) / box.height; return at < SNAP ? 0 : at > 1 - SNAP ? 1 : at; };
  const from = event.clientY;
  node.setPointerCapture(event.pointerId);
  const move = (moved) => {
    if (Math.abs(moved.clientY - from) < 4) return;
    const ends = [share(from), share(moved.clientY)].sort((a, b) => a - b);
    setRange(dimension, node, [ends[0] - 1e-6, ends[1] + 1e-6]);
  };
  const end = (last) => {
    if (last.type === "pointerup" && Math.abs(last.clientY - from) < 4) setRange(dimension, node, null);
    for (const [name, listener] of [["pointermove", move], ["pointerup", end], ["pointercancel", end]]) node.removeEventListener(name, listener);
  };
  for (const [name, listener] of [["pointermove", move], ["pointerup", end], ["pointercancel", end]]) node.addEventListener(name, listener);
}

function brushByKey(event, dimension, node) {
  const [low, high] = parallel.ranges.get(dimension.key) || [-1e-6, 1 + 1e-6];
  const step = { ArrowUp: STEP, ArrowDown: -STEP, PageUp: 5 * STEP, PageDown: -5 * STEP }[event.key];
  if (step !== undefined) {
    event.preventDefault();
    setRange(dimension, node, event.shiftKey ? [low, Math.min(Math.max(high + step, low), 1 + 1e-6)] : [Math.max(Math.min(low + step, high), -1e-6), high]);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    setRange(dimension, node, null);
  }
}

function readParameters() {
  if (!parallel.ranges.size) return null;
  const found = new Uint8Array(data.trial.length).fill(1);
  for (const { key, at } of parallel.dimensions) {
    const range = parallel.ranges.get(key);
    if (range) for (let i = 0; i < found.length; i++) if (!(at[i] >= range[0] && at[i] <= range[1])) found[i] = 0;
  }
  return found;
}
