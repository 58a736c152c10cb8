"use strict";
// Score against cost. Plotly draws axes and legend, zooms and selects; students are drawn on two canvases
// of ours above it: without a graphics card ten thousand of them take Plotly most of a second.

const REACH = 14; // px from a student within which a pointer means it
const TAP = 5; // px that a finger may move in a click

const plane = { x: [], y: [], px: new Float32Array(0), py: new Float32Array(0), groups: null, references: [] };

// ---- what is drawn ------------------------------------------------------------------------------

function column(kind) {
  return kind === "x" ? data.cost[$("source").value][$("axis").value] : data.scores[$("split").value].values[$("score").value];
}

const axisName = () => `${AXIS[$("axis").value]}, ${$("source").selectedOptions[0].textContent}`;

function drawFront() {
  const x = column("x"), y = column("y"), intervals = data.scores[$("split").value].intervals[$("score").value];
  // A logarithm knows no zero, and some costs are: no DSP is the best that can be.
  const positive = x.every((value) => value === null || value > 0);
  $("log").disabled = !positive;
  $("intervals").disabled = !Object.values(data.scores).some((split) => split.intervals[$("score").value]);
  const log = positive && $("log").checked;
  plane.log = log;
  plane.x = x;
  plane.y = y;
  plane.intervals = $("intervals").checked && intervals ? intervals : null;
  plane.groups = grouped(x, y);
  plane.references = referenceMarks();
  const narrow = $("front").clientWidth < 600, view = `${$("axis").value} ${$("source").value} ${log}`;
  const layout = base({
    xaxis: { title: { text: escaped(axisName()) }, type: log ? "log" : "linear", uirevision: view },
    yaxis: { title: { text: `${escaped(scoreName($("score").value))}, ${$("split").value}` }, uirevision: $("score").value + $("split").value, tickformat: "~g" },
    legend: { orientation: "h", x: 0, font: { size: 11 }, itemclick: false, itemdoubleclick: false, ...(narrow ? { y: -0.16, yanchor: "top" } : { y: 1.02, yanchor: "bottom" }) },
    margin: { l: narrow ? 52 : 62, r: 14, t: 34, b: 46 }, hovermode: false, uirevision: 1,
    dragmode: matchMedia("(pointer: coarse)").matches ? "pan" : "select",
    selectionrevision: `${view} ${$("score").value} ${$("split").value}`, // a box in other units would mean nothing
    newselection: { line: { color: colour("ink"), width: 1 } },
  });
  return Plotly.react($("front"), [bounds(), ...legend()], layout, CONFIG); // and plotly_afterplot paints
}

function grouped(x, y) {
  const groups = { infeasible: [], measured: [], front: [] };
  for (let i = 0; i < x.length; i++) {
    if (x[i] === null || y[i] === null) continue;
    if (data.on_front[i]) groups.front.push(i);
    else if (data.feasible[i]) groups.measured.push(i);
    else if ($("infeasible").checked) groups.infeasible.push(i);
  }
  groups.front.sort((a, b) => placeOnFront.get(a) - placeOnFront.get(b));
  const runs = new Map();
  for (const i of [...groups.infeasible, ...groups.measured, ...groups.front]) {
    if (!runs.has(runOf(i))) runs.set(runOf(i), []);
    runs.get(runOf(i)).push(i);
  }
  groups.runs = [...runs.values()].filter((run) => run.length > 1);
  for (const run of groups.runs) run.sort((a, b) => data.epoch[a] - data.epoch[b]);
  return groups;
}

// What Plotly chooses the axes' ends by.
function bounds() {
  const xs = [], ys = [];
  const shown = [...plane.groups.infeasible, ...plane.groups.measured, ...plane.groups.front];
  for (const [values, into] of [[plane.x, xs], [plane.y, ys]]) {
    let low = Infinity, high = -Infinity;
    for (const i of shown) { low = Math.min(low, values[i]); high = Math.max(high, values[i]); }
    if (low <= high) into.push(low, high);
  }
  for (const i of plane.intervals ? plane.groups.front : []) if (plane.intervals[i]) for (const end of plane.intervals[i]) { xs.push(plane.x[i]); ys.push(end); }
  for (const one of plane.references) { xs.push(one.x); ys.push(one.y); }
  return { type: "scatter", mode: "markers", x: xs, y: ys, marker: { opacity: 0, size: 12 }, showlegend: false, hoverinfo: "skip" };
}

function legend() {
  const entry = (name, more) => ({ type: "scatter", name, x: [null], y: [null], showlegend: true, hoverinfo: "skip", ...more });
  const dot = (name, marker) => entry(name, { mode: "markers", marker });
  return [
    $("paths").checked && plane.groups.runs.length ? entry("a training run", { mode: "lines", line: { color: colour("path"), width: 2 } }) : null,
    plane.groups.infeasible.length ? dot("breaks a constraint", { color: colour("quiet"), size: 7, symbol: "x-thin-open", line: { width: 1.2 } }) : null,
    plane.groups.measured.length ? dot("measured", { color: colour("quiet"), size: 6 }) : null,
    plane.groups.front.length ? dot(frontName(), { color: colour("front"), size: 9 }) : null,
    ...plane.references.map((one) => dot(escaped(shortened(one.name)), { color: one.colour, size: 10, symbol: "diamond" })),
  ].filter(Boolean);
}

// Other axes or events do not change the front: say by what it was chosen where there is room.
function frontName() {
  const by = data.objectives.map((name) => AXIS[name] || scoreWord(name)).map(escaped).join(" and ");
  return $("front").clientWidth < 600 ? "front" : `front, chosen by ${by} on validation events`;
}

function referenceMarks() {
  const axis = $("axis").value, key = $("score").value, split = $("split").value;
  return data.references.flatMap((student, index) => {
    const cost = (student.cost || {})[axis], scores = student[split] || {};
    const [kind, signal] = [key.split(":")[0], key.slice(key.indexOf(":") + 1)];
    const score = kind === "auc" ? (scores.auc || {})[signal] : kind === "efficiency" ? (scores.efficiency || {})[signal] : scores[key];
    if (typeof cost !== "number" || typeof score !== "number" || (plane.log && cost <= 0)) return [];
    const name = kind === "auc" ? signal : key;
    return [{ name: student.name, source: student.cost.source, x: cost, y: score, interval: (scores.intervals || {})[name], colour: SERIES[(index + 1) % SERIES.length] }];
  });
}

// ---- painting -----------------------------------------------------------------------------------

// The plot's area and the way from values to its pixels, as Plotly has them now.
function frame() {
  const { xaxis, yaxis, width, height } = $("front")._fullLayout;
  const [x0, x1] = xaxis.range.map(Number), [y0, y1] = yaxis.range.map(Number);
  const left = xaxis._offset, top = yaxis._offset, wide = xaxis._length, high = yaxis._length;
  return {
    left, top, wide, high, width, height,
    x: (value) => left + (((plane.log ? Math.log10(value) : value) - x0) / (x1 - x0)) * wide,
    y: (value) => top + ((y1 - value) / (y1 - y0)) * high,
  };
}

function cleared(canvas, { left, top, wide, high, width, height }) {
  const scale = devicePixelRatio || 1, ink = canvas.getContext("2d");
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  ink.setTransform(scale, 0, 0, scale, 0, 0);
  ink.clearRect(0, 0, width, height);
  ink.save();
  ink.beginPath();
  ink.rect(left, top, wide, high);
  ink.clip();
  return ink;
}

function paintFront() {
  if (!$("front")._fullLayout || !plane.groups) return;
  const at = frame(), ink = cleared($("students"), at), { groups } = plane;
  const n = plane.x.length;
  if (plane.px.length !== n) { plane.px = new Float32Array(n); plane.py = new Float32Array(n); }
  for (let i = 0; i < n; i++) {
    plane.px[i] = plane.x[i] === null ? NaN : at.x(plane.x[i]);
    plane.py[i] = plane.y[i] === null ? NaN : at.y(plane.y[i]);
  }
  if ($("paths").checked) paintRuns(ink, groups.runs, colour("path"), 1);
  for (const chosen of picked ? [false, true] : [true]) {
    ink.globalAlpha = chosen ? 1 : 0.16;
    const of = (indices) => (picked ? indices.filter((i) => Boolean(picked[i]) === chosen) : indices);
    paintCrosses(ink, of(groups.infeasible), colour("quiet"));
    paintDots(ink, of(groups.measured), colour("quiet"));
    if (plane.intervals) paintIntervals(ink, of(groups.front), at);
    paintCircles(ink, of(groups.front), colour("front"));
  }
  ink.globalAlpha = 1;
  for (const one of plane.references) paintDiamond(ink, at, one);
  ink.restore();
  labelReferences(ink, at);
  paintMarks();
}

function paintRuns(ink, runs, stroke, width) {
  ink.strokeStyle = stroke;
  ink.lineWidth = width;
  ink.beginPath();
  for (const run of runs) {
    ink.moveTo(plane.px[run[0]], plane.py[run[0]]);
    for (let k = 1; k < run.length; k++) ink.lineTo(plane.px[run[k]], plane.py[run[k]]);
  }
  ink.stroke();
}

// Two rectangles make a dot, in a quarter of the time of an arc; a pixel that has one gets no other.
function paintDots(ink, indices, fill) {
  const wide = $("front").clientWidth, taken = new Uint8Array(wide * $("front").clientHeight);
  ink.fillStyle = fill;
  for (const i of indices) {
    const x = Math.round(plane.px[i]), y = Math.round(plane.py[i]), pixel = y * wide + x;
    if (taken[pixel]) continue;
    taken[pixel] = 1;
    ink.fillRect(x - 2.5, y - 1.5, 5, 3);
    ink.fillRect(x - 1.5, y - 2.5, 3, 5);
  }
}

function paintCrosses(ink, indices, stroke) {
  ink.strokeStyle = stroke;
  ink.lineWidth = 1.2;
  ink.beginPath();
  for (const i of indices) {
    const x = plane.px[i], y = plane.py[i];
    ink.moveTo(x - 3, y - 3); ink.lineTo(x + 3, y + 3); ink.moveTo(x + 3, y - 3); ink.lineTo(x - 3, y + 3);
  }
  ink.stroke();
}

function paintCircles(ink, indices, fill) {
  ink.fillStyle = fill;
  ink.strokeStyle = colour("card");
  ink.lineWidth = 1;
  ink.beginPath();
  for (const i of indices) {
    ink.moveTo(plane.px[i] + 4.5, plane.py[i]);
    ink.arc(plane.px[i], plane.py[i], 4.5, 0, 2 * Math.PI);
  }
  ink.fill();
  ink.stroke();
}

function paintIntervals(ink, indices, at) {
  ink.strokeStyle = colour("front");
  ink.lineWidth = 1;
  ink.beginPath();
  for (const i of indices) if (plane.intervals[i]) paintBar(ink, plane.px[i], ...plane.intervals[i].map(at.y));
  ink.stroke();
}

function paintBar(ink, x, low, high) {
  ink.moveTo(x, low); ink.lineTo(x, high);
  for (const end of [low, high]) { ink.moveTo(x - 3, end); ink.lineTo(x + 3, end); }
}

function paintDiamond(ink, at, one) {
  const x = at.x(one.x), y = at.y(one.y);
  ink.strokeStyle = colour("ink");
  ink.lineWidth = 1;
  if ($("intervals").checked && one.interval) { ink.beginPath(); paintBar(ink, x, ...one.interval.map(at.y)); ink.stroke(); }
  ink.beginPath();
  ink.moveTo(x, y - 7); ink.lineTo(x + 7, y); ink.lineTo(x, y + 7); ink.lineTo(x - 7, y); ink.closePath();
  ink.fillStyle = one.colour;
  ink.fill();
  ink.stroke();
}

// Names stand above their diamonds, inside the figure; one that would lie on another is left to the legend.
function labelReferences(ink, at) {
  const placed = [];
  ink.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  ink.fillStyle = colour("ink");
  for (const one of plane.references) {
    const text = shortened(one.name), half = ink.measureText(text).width / 2, x0 = at.x(one.x), y = at.y(one.y) - 13;
    if (x0 < at.left || x0 > at.left + at.wide || y < at.top || y > at.top + at.high) continue;
    const x = Math.min(Math.max(x0, at.left + half + 2), at.left + at.wide - half - 2);
    if (placed.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 14)) continue;
    placed.push({ x, y, half });
    ink.textAlign = "center";
    ink.fillText(text, x, y);
  }
}

// The open student with its run, and the keyboard's cursor.
function paintMarks() {
  if (!$("front")._fullLayout || !plane.groups) return;
  const ink = cleared($("marks"), frame()), index = data.trial.indexOf(open), at = frontOrder[cursor];
  const there = (i) => i !== undefined && i >= 0 && !Number.isNaN(plane.px[i]) && !Number.isNaN(plane.py[i]);
  ink.strokeStyle = colour("mark");
  if (there(index)) {
    paintRuns(ink, plane.groups.runs.filter((run) => runOf(run[0]) === runOf(index)), colour("mark"), 1.6);
    ink.lineWidth = 2.5;
    ink.beginPath();
    ink.arc(plane.px[index], plane.py[index], 8, 0, 2 * Math.PI);
    ink.stroke();
  }
  if (there(at)) {
    ink.strokeStyle = colour("ink");
    ink.lineWidth = 2;
    ink.strokeRect(plane.px[at] - 9, plane.py[at] - 9, 18, 18);
  }
  ink.restore();
}

// ---- pointer and keys ---------------------------------------------------------------------------

// The student or reference under a pointer; those of the front first, for they lie on top.
function under(event) {
  const box = $("front").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top, at = frame();
  if (x < at.left - 4 || x > at.left + at.wide + 4 || y < at.top - 4 || y > at.top + at.high + 4) return null;
  let best = null, nearest = REACH;
  const look = (distance, found) => { if (distance < nearest) { nearest = distance; best = found; } };
  for (const one of plane.references) look(Math.hypot(at.x(one.x) - x, at.y(one.y) - y) - 3, { reference: one, x: at.x(one.x), y: at.y(one.y) });
  for (const [indices, ahead] of [[plane.groups.front, 3], [plane.groups.measured, 0], [plane.groups.infeasible, 0]])
    for (const i of indices) look(Math.hypot(plane.px[i] - x, plane.py[i] - y) - ahead, { index: i, x: plane.px[i], y: plane.py[i] });
  return best;
}

function told({ index, reference }) {
  const i = index, named = (x, y) => `${AXIS[$("axis").value]} ${number(x)} · ${scoreName($("score").value)} ${fixed(y)}`;
  const span = (interval) => (interval ? ` (${fixed(interval[0])} to ${fixed(interval[1])})` : "");
  if (reference) return [`${reference.name} · reference, cost ${reference.source || "estimated"}`, named(reference.x, reference.y) + span(reference.interval)];
  const known = data.scores[$("split").value].intervals[$("score").value];
  return [`trial ${data.trial[i]} · run ${runOf(i)}, epoch ${data.epoch[i]}${data.feasible[i] ? "" : " · breaks a constraint"}`, named(plane.x[i], plane.y[i]) + span(known && known[i])];
}

function showTip(found) {
  const tip = $("tip");
  tip.hidden = !found;
  if (!found) return;
  tip.replaceChildren(...told(found).map((line) => make("div", {}, line)));
  const most = $("front").clientWidth;
  tip.style.left = `${Math.min(Math.max(found.x - tip.offsetWidth / 2, 2), most - tip.offsetWidth - 2)}px`;
  tip.style.top = `${found.y > tip.offsetHeight + 16 ? found.y - tip.offsetHeight - 12 : found.y + 14}px`;
}

// Which students lie in the boxes and loops that Plotly has drawn, and no others.
function selected() {
  const shapes = $("front").layout.selections || [], { x, y } = plane;
  const unit = plane.log ? Math.log10 : Number;
  if (!shapes.length) return null;
  const inside = shapes.map((shape) => {
    if (shape.type === "rect") {
      const [left, right] = [shape.x0, shape.x1].map(Number).sort((a, b) => a - b), [low, high] = [shape.y0, shape.y1].map(Number).sort((a, b) => a - b);
      return (i) => x[i] >= left && x[i] <= right && y[i] >= low && y[i] <= high;
    }
    const corners = shape.path.slice(1).replace("Z", "").split("L").map((pair) => pair.split(",").map(Number)).map(([a, b]) => [unit(a), b]);
    return (i) => isInside(corners, unit(x[i]), y[i]);
  });
  const found = new Uint8Array(x.length), { groups } = plane;
  for (const indices of [groups.infeasible, groups.measured, groups.front]) for (const i of indices) if (inside.some((one) => one(i))) found[i] = 1;
  return found;
}

function isInside(corners, x, y) {
  let odd = false;
  for (let a = 0, b = corners.length - 1; a < corners.length; b = a++) {
    const [x0, y0] = corners[a], [x1, y1] = corners[b];
    if (y0 > y !== y1 > y && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) odd = !odd;
  }
  return odd;
}

function listenFront() {
  const node = $("front");
  node.on("plotly_afterplot", paintFront);
  node.on("plotly_relayouting", paintFront);
  node.on("plotly_selected", () => { byFront = selected(); afterBrush(); });
  node.on("plotly_deselect", () => { byFront = null; afterBrush(); });
  node.addEventListener("pointermove", (event) => { if (!event.buttons) soon("tip", () => showTip(under(event))); });
  node.addEventListener("pointerleave", () => soon("tip", () => showTip(null)));
  let from = null;
  node.addEventListener("pointerdown", (event) => { from = event.isPrimary && event.button === 0 ? event : null; }, true);
  addEventListener("pointerup", (event) => {
    const still = from && Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) < TAP;
    from = null;
    const found = still ? under(event) : null;
    if (found && found.index !== undefined) openStudent(data.trial[found.index]);
  }, true);
  node.addEventListener("keydown", onKey);
  node.addEventListener("blur", () => showTip(null));
}

function onKey(event) {
  const last = frontOrder.length - 1, steps = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  if (event.key in steps) {
    event.preventDefault();
    cursor = Math.min(Math.max(cursor + steps[event.key], 0), last);
    paintMarks();
    const i = frontOrder[cursor], found = { index: i, x: plane.px[i], y: plane.py[i] };
    showTip(Number.isNaN(found.x) || Number.isNaN(found.y) ? null : found);
    $("cursor").textContent = told(found).join(", ");
  } else if (event.key === "Enter" && cursor >= 0) {
    event.preventDefault();
    openStudent(data.trial[frontOrder[cursor]], true);
  }
}
