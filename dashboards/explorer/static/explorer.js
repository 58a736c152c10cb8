"use strict";
// The explorer: the front of one study, its parameters, and one student at a time.
// Whatever a study names (itself, signals, parameters, choices) is text: textContent, or escaped for Plotly.

const $ = (id) => document.getElementById(id);
const study = decodeURIComponent(location.pathname.replace(/^\/explorer\/?/, "").replace(/\/$/, ""));
const api = (path) => `/explorer/api/${encodeURIComponent(study)}/${path}`;
const SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6d1f", "#6a51a3"];
const COLD = [[0, "#00224e"], [0.25, "#35456c"], [0.5, "#7c7b78"], [0.75, "#bcaf6f"], [1, "#fee838"]]; // cividis
// The same scale, without the end that the page's colour swallows; the best are what stands out.
const RANKS = {
  light: [[0, "#d9c871"], [0.35, "#9a9478"], [0.7, "#4a577a"], [1, "#00224e"]],
  dark: [[0, "#35456c"], [0.35, "#6d7179"], [0.7, "#bcaf6f"], [1, "#fee838"]],
};
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["autoScale2d", "toImage"] };
const LOOK_AGAIN = 15000; // ms between looks at a study that may be running
const ROWS = 100; // of the table
const LINES = 2000; // through the parameters: more take seconds to draw, and are a blur

let data = null; // the study's points, one list a column
let open = null; // the trial whose student is open
let cursor = -1; // the front point under the keyboard's cursor
let byFront = null, byParameters = null; // sets of points: what was brushed in either figure
let loading = 0; // the last student asked for
let axes = []; // values of every point on each axis of the parameters

// ---- small things -------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listen] of Object.entries(value)) node.addEventListener(event, listen);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const number = (value, digits = 4) =>
  value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumSignificantDigits: digits });
const whole = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));
const fixed = (value, digits = 4) => (value === null || value === undefined ? "–" : value.toFixed(digits));

function scoreName(key) {
  const [kind, signal] = [key.split(":")[0], key.slice(key.indexOf(":") + 1)];
  if (key === "mean_auc") return "mean AUC";
  if (key === "worst_auc") return "worst AUC";
  if (key === "mean_efficiency") return `mean efficiency at ${data.rate_khz} kHz`;
  return kind === "auc" ? `AUC ${signal}` : `efficiency ${signal} at ${data.rate_khz} kHz`;
}

const AXIS = {
  lut: "LUT", ff: "FF", dsp: "DSP", ebops: "EBOPs", latency_ns: "latency, ns", lut_equivalent: "LUT + 55 DSP",
  hls_lut: "LUT as HLS", hls_dsp: "DSP as HLS", hls_lut_equivalent: "LUT + 55 DSP as HLS",
};

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

async function get(path) {
  const answer = await fetch(path);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.reason || answer.statusText);
  return content;
}

const plotly = new Promise((resolve, reject) => {
  if (window.Plotly) resolve();
  $("plotly").addEventListener("load", () => resolve());
  $("plotly").addEventListener("error", () => reject(new Error("plotly.min.js could not be loaded")));
});

// ---- theme --------------------------------------------------------------------------------------

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

function base(extra = {}) {
  const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, ticks: "outside", tickcolor: colour("line") };
  const { xaxis = {}, yaxis = {}, ...rest } = extra;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), size: 12, family: getComputedStyle(document.body).fontFamily },
    margin: { l: 58, r: 14, t: 10, b: 44 }, hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

// ---- state in the address -----------------------------------------------------------------------

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const id of ["score", "split", "axis", "source"]) {
    const value = wanted.get(id);
    if (value !== null && [...$(id).options].some((option) => option.value === value)) $(id).value = value;
  }
  const trial = Number(wanted.get("trial") ?? NaN);
  return data.trial.includes(trial) ? trial : null;
}

function writeAddress() {
  const state = new URLSearchParams();
  for (const id of ["score", "split", "axis", "source"]) state.set(id, $(id).value);
  if (open !== null) state.set("trial", open);
  history.replaceState(null, "", `#${state}`);
}

// ---- data ---------------------------------------------------------------------------------------

function column(kind) {
  return kind === "x" ? data.cost[$("source").value][$("axis").value] : data.scores[$("split").value].values[$("score").value];
}

function fillControls() {
  const options = (id, entries) => {
    const before = $(id).value;
    $(id).replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
    if (entries.some(([value]) => value === before)) $(id).value = before;
  };
  options("score", Object.keys(data.scores.test.values).map((key) => [key, scoreName(key)]));
  const named = { current: data.cost_source, estimated: "estimated (adder graph)" };
  options("source", Object.keys(data.cost).filter((key) => key !== "estimated" || data.cost_source !== named.estimated)
    .map((key) => [key, named[key] || key]));
  fillAxes();
}

function fillAxes() {
  const before = $("axis").value, known = Object.keys(data.cost[$("source").value]);
  $("axis").replaceChildren(...known.map((key) => make("option", { value: key }, AXIS[key] || key)));
  $("axis").value = known.includes(before) ? before : known.includes(firstCost()) ? firstCost() : known[0];
}

const firstCost = () => data.objectives[data.directions.indexOf("minimize")];
const all = () => data.trial.map((_, index) => index);
const frontOrder = () => {
  const cost = data.cost.current[firstCost()];
  return all().filter((i) => data.on_front[i]).sort((a, b) => cost[a] - cost[b]);
};

function brushed() {
  if (!byFront && !byParameters) return null;
  return all().filter((i) => (!byFront || byFront.has(i)) && (!byParameters || byParameters.has(i)));
}

// ---- score against cost -------------------------------------------------------------------------

function drawFront() {
  const x = column("x"), y = column("y");
  const groups = { infeasible: [], others: [], front: [] };
  for (const i of all()) {
    if (x[i] === null || y[i] === null) continue;
    if (data.on_front[i]) groups.front.push(i);
    else if (data.feasible[i]) groups.others.push(i);
    else if ($("infeasible").checked) groups.infeasible.push(i);
  }
  const order = new Map(frontOrder().map((i, place) => [i, place]));
  groups.front.sort((a, b) => order.get(a) - order.get(b));
  const picked = brushed() && new Set(brushed());
  const points = (indices, name, marker, more = {}) => ({
    type: "scattergl", mode: "markers", name, x: indices.map((i) => x[i]), y: indices.map((i) => y[i]), marker,
    customdata: indices.map((i) => [i, data.trial[i], data.parent[i] === null ? data.trial[i] : data.parent[i], data.epoch[i]]),
    hovertemplate: "trial %{customdata[1]} · run %{customdata[2]}, epoch %{customdata[3]}<br>%{x:,} · %{y:.4f}<extra></extra>",
    selectedpoints: picked ? indices.flatMap((i, place) => (picked.has(i) ? [place] : [])) : null,
    unselected: { marker: { opacity: 0.15 } }, ...more,
  });
  const traces = [];
  if ($("paths").checked) traces.push(paths(x, y));
  traces.push(points(groups.infeasible, "breaks a constraint", { color: colour("quiet"), size: 6, symbol: "x-thin-open" }));
  traces.push(points(groups.others, "measured", { color: colour("quiet"), size: 5.5 }));
  traces.push(points(groups.front, "front", { color: colour("front"), size: 9, line: { color: colour("card"), width: 1 } }, errors(groups.front, y)));
  traces.push(...references(), ...marks(x, y));
  // A logarithm knows no zero, and some costs are: no DSP is the best that can be.
  $("intervals").disabled = !Object.values(data.scores).some((split) => split.intervals[$("score").value]);
  const positive = x.every((value) => value === null || value > 0);
  $("log").disabled = !positive;
  const narrow = $("front").clientWidth < 600;
  const layout = base({
    xaxis: { title: { text: `${AXIS[$("axis").value]}, ${escaped($("source").selectedOptions[0].textContent)}` }, type: positive && $("log").checked ? "log" : "linear", uirevision: $("axis").value + $("log").checked },
    yaxis: { title: { text: `${escaped(scoreName($("score").value))}, ${$("split").value}` }, uirevision: $("score").value + $("split").value },
    legend: { orientation: "h", x: 0, font: { size: 11 }, ...(narrow ? { y: -0.16, yanchor: "top" } : { y: 1.02, yanchor: "bottom" }) },
    margin: { l: narrow ? 52 : 62, r: 14, t: 34, b: 46 },
    dragmode: matchMedia("(pointer: coarse)").matches ? "pan" : "select", hovermode: "closest", selectionrevision: 1, uirevision: 1,
  });
  return Plotly.react($("front"), traces, layout, CONFIG);
}

function paths(x, y) {
  const runs = new Map();
  for (const i of all()) {
    if (x[i] === null || y[i] === null || (!data.feasible[i] && !$("infeasible").checked)) continue;
    const run = data.parent[i] === null ? data.trial[i] : data.parent[i];
    if (!runs.has(run)) runs.set(run, []);
    runs.get(run).push(i);
  }
  const xs = [], ys = [];
  for (const points of runs.values()) {
    points.sort((a, b) => data.epoch[a] - data.epoch[b]);
    for (const i of points) { xs.push(x[i]); ys.push(y[i]); }
    xs.push(null); ys.push(null);
  }
  return { type: "scattergl", mode: "lines", name: "one training run", x: xs, y: ys, line: { color: colour("path"), width: 1 }, hoverinfo: "skip", connectgaps: false };
}

function errors(indices, y) {
  const known = data.scores[$("split").value].intervals[$("score").value];
  if (!$("intervals").checked || !known) return {};
  return { error_y: {
    type: "data", symmetric: false, thickness: 1, width: 3, color: colour("front"),
    array: indices.map((i) => (known[i] ? known[i][1] - y[i] : 0)), arrayminus: indices.map((i) => (known[i] ? y[i] - known[i][0] : 0)),
  } };
}

function references() {
  const axis = $("axis").value, key = $("score").value, split = $("split").value;
  return data.references.flatMap((student, place) => {
    const cost = (student.cost || {})[axis], scores = student[split] || {};
    const [kind, signal] = [key.split(":")[0], key.slice(key.indexOf(":") + 1)];
    const score = kind === "auc" ? (scores.auc || {})[signal] : kind === "efficiency" ? (scores.efficiency || {})[signal] : scores[key];
    if (typeof cost !== "number" || typeof score !== "number") return [];
    return [{ type: "scatter", mode: "markers+text", name: escaped(student.name), x: [cost], y: [score], text: [escaped(student.name)], textposition: "top center",
      marker: { symbol: "diamond", size: 12, color: SERIES[(place + 1) % SERIES.length], line: { color: colour("ink"), width: 1 } },
      hovertemplate: `${escaped(student.name)}<br>%{x:,} · %{y:.4f}<extra></extra>` }];
  });
}

// The open student with its run, and the keyboard's cursor.
function marks(x, y) {
  const found = [], index = data.trial.indexOf(open);
  if (index >= 0) {
    const run = data.parent[index] === null ? open : data.parent[index];
    const points = all().filter((i) => (data.parent[i] === null ? data.trial[i] : data.parent[i]) === run && x[i] !== null && y[i] !== null);
    points.sort((a, b) => data.epoch[a] - data.epoch[b]);
    const style = { color: colour("mark"), width: 1.6 };
    found.push({ type: "scatter", mode: "lines", name: `run ${run}`, x: points.map((i) => x[i]), y: points.map((i) => y[i]), line: style, hoverinfo: "skip" });
    if (x[index] !== null && y[index] !== null)
      found.push({ type: "scatter", mode: "markers", name: `trial ${open}`, x: [x[index]], y: [y[index]], hoverinfo: "skip", marker: { symbol: "circle-open", size: 16, color: colour("mark"), line: { width: 2.5 } } });
  }
  const at = frontOrder()[cursor];
  if (at !== undefined && x[at] !== null && y[at] !== null)
    found.push({ type: "scatter", mode: "markers", showlegend: false, x: [x[at]], y: [y[at]], hoverinfo: "skip", marker: { symbol: "square-open", size: 18, color: colour("ink"), line: { width: 2 } } });
  return found;
}

// ---- parameters ---------------------------------------------------------------------------------

function drawParameters() {
  const picked = brushed(), shown = picked && picked.length ? new Set(picked) : null;
  const score = column("y"), cost = column("x");
  const dimensions = data.params.map((parameter) => dimension(parameter));
  dimensions.push({ label: escaped(scoreName($("score").value)), values: score.map((v) => (v === null ? 0 : v)) });
  const logs = cost.map((v) => (v > 0 ? Math.log10(v) : 0));
  dimensions.push({ label: escaped(AXIS[$("axis").value]), values: logs, ...decades(logs) });
  // Colour is the rank in score; what was not brushed in the other figure goes grey.
  const ranked = all().filter((i) => score[i] !== null).sort((a, b) => score[a] - score[b]);
  const rank = new Map(ranked.map((i, place) => [i, (place + 1) / ranked.length]));
  const scale = [[0, colour("path")], [0.0195, colour("path")], ...RANKS[document.documentElement.dataset.theme].map(([at, c]) => [0.0196 + at * 0.9804, c])];
  const trace = {
    type: "parcoords", dimensions, labelangle: -12, labelfont: { size: 11, color: colour("ink") }, tickfont: { size: 10, color: colour("soft") }, rangefont: { size: 9, color: colour("soft") },
    line: { color: score.map((_, i) => (!rank.has(i) || (shown && !shown.has(i)) ? -0.02 : rank.get(i))), colorscale: scale, cmin: -0.02, cmax: 1 },
    unselected: { line: { color: colour("path"), opacity: 0.15 } },
  };
  axes = dimensions.map((one) => one.values);
  const lines = drawnLines(shown);
  for (const one of dimensions) {
    // The ends of an axis are those of all points.
    const ends = [one.values.reduce((a, b) => Math.min(a, b)), one.values.reduce((a, b) => Math.max(a, b))];
    if (ends[0] < ends[1]) one.range = ends;
    one.values = lines.map((i) => one.values[i]);
  }
  trace.line.color = lines.map((i) => trace.line.color[i]);
  $("parameters-hint").textContent = lines.length < data.trial.length ? ` ${whole(lines.length)} of ${whole(data.trial.length)} are drawn: the front, the selection, and others evenly.` : "";
  $("parameters").style.minWidth = `${dimensions.length * 105}px`;
  return Plotly.react($("parameters"), [trace], base({ margin: { l: 60, r: 60, t: 62, b: 20 } }), { ...CONFIG, displayModeBar: false });
}

// The front first, then what is selected, then others, evenly chosen; selected ones on top.
function drawnLines(shown) {
  if (data.trial.length <= LINES) return all();
  const first = all().filter((i) => data.on_front[i]).slice(0, LINES / 2);
  const chosen = new Set(first);
  for (const pool of [shown ? [...shown] : [], all()]) {
    const step = Math.max(1, Math.ceil(pool.length / Math.max(1, LINES - chosen.size)));
    for (let i = 0; i < pool.length && chosen.size < LINES; i += step) chosen.add(pool[i]);
  }
  return [...chosen];
}

function dimension(parameter) {
  const label = escaped(parameter.name.split(".").slice(-2).join("."));
  if (parameter.kind === "choice") {
    const choices = [...new Set(parameter.values)].sort();
    return { label, values: parameter.values.map((v) => choices.indexOf(v)), tickvals: choices.map((_, i) => i), ticktext: choices.map(escaped) };
  }
  if (!parameter.log) return { label, values: parameter.values.map((v) => (v === null ? 0 : v)) };
  const values = parameter.values.map((v) => (v > 0 ? Math.log10(v) : 0));
  return { label, values, ...decades(values) };
}

function decades(values) {
  const low = Math.floor(Math.min(...values)), high = Math.ceil(Math.max(...values));
  const tickvals = [];
  for (let e = low; e <= high; e++) for (const m of high - low > 2 ? [1] : [1, 2, 5]) tickvals.push(e + Math.log10(m));
  const inside = tickvals.filter((v) => v >= Math.min(...values) - 0.2 && v <= Math.max(...values) + 0.2);
  return { tickvals: inside, ticktext: inside.map((v) => number(10 ** v, 2)) };
}

function readParameters() {
  const drawn = ($("parameters").data || [{ dimensions: [] }])[0].dimensions;
  let found = null;
  for (const [place, one] of drawn.entries()) {
    if (!one.constraintrange) continue;
    const parts = Array.isArray(one.constraintrange[0]) ? one.constraintrange : [one.constraintrange];
    const kept = all().filter((i) => parts.some(([low, high]) => axes[place][i] >= low && axes[place][i] <= high));
    found = new Set(found ? kept.filter((i) => found.has(i)) : kept);
  }
  return found;
}

// ---- table --------------------------------------------------------------------------------------

function drawTable() {
  const picked = brushed(), indices = picked || frontOrder();
  const cost = data.cost.current, split = data.scores[$("split").value].values;
  indices.sort((a, b) => cost[firstCost()][a] - cost[firstCost()][b]);
  const shown = indices.slice(0, ROWS);
  $("table-title").textContent = picked
    ? `Selection: ${whole(picked.length)} students${picked.length > ROWS ? `, the ${ROWS} cheapest` : ""}`
    : `Front: ${shown.length} students`;
  const names = ["trial", "run", "epoch", "LUT", "FF", "ns", "EBOPs", `mean AUC`, ...data.signals];
  const rows = shown.map((i) => make("tr", { "aria-current": data.trial[i] === open ? "true" : false },
    make("td", {}, make("button", { type: "button", "aria-label": `Open trial ${data.trial[i]}`, on: { click: () => openStudent(data.trial[i], true) } }, String(data.trial[i]))),
    ...[data.parent[i] === null ? data.trial[i] : data.parent[i], data.epoch[i], whole(cost.lut[i]), whole(cost.ff[i]), number(cost.latency_ns[i]), whole(cost.ebops[i]), fixed(split.mean_auc[i])]
      .map((text) => make("td", {}, String(text))),
    ...data.signals.map((signal) => make("td", {}, fixed(split[`auc:${signal}`][i], 3)))));
  $("table").replaceChildren(
    make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows));
  $("clear").disabled = !picked;
}

// ---- one student --------------------------------------------------------------------------------

async function openStudent(trial, move = false) {
  open = trial;
  const mine = ++loading, panel = $("student");
  panel.hidden = false;
  panel.replaceChildren(make("p", { class: "waiting" }, `Trial ${trial} …`));
  writeAddress();
  await drawFront();
  drawTable();
  if (move || matchMedia("(max-width: 900px)").matches) panel.scrollIntoView({ block: "start" });
  try {
    const about = await get(api(`student/${trial}`));
    if (mine !== loading) return;
    showStudent(about);
    if (move) panel.focus({ preventScroll: true });
    await Promise.all([showPerformance(trial, mine), showLayers(trial, mine)]);
    if (mine === loading) document.documentElement.dataset.shown = trial;
  } catch (error) {
    if (mine === loading) panel.replaceChildren(closing(`Trial ${trial}`), make("p", {}, error.message));
  }
}

function closeStudent() {
  open = null;
  loading++;
  $("student").hidden = true;
  $("student").replaceChildren();
  writeAddress();
  drawFront();
  drawTable();
  $("front").focus({ preventScroll: true });
}

const closing = (title, ...more) => make("header", {}, make("h2", {}, title), ...more,
  make("button", { type: "button", class: "close", "aria-label": "Close the student", on: { click: closeStudent } }, "×"));

function showStudent(about) {
  const { cost, test, validation } = about;
  const interval = (test.intervals || {}).mean_auc;
  const broken = about.constraints.filter((one) => one.excess > 0);
  const figure = (value, text) => make("div", {}, make("b", {}, value), make("span", {}, text));
  const source = cost.source;
  const begun = about.starts_from === null || about.starts_from === undefined ? "" : `, which went on from trial ${about.starts_from}`;
  $("student").replaceChildren(
    closing(`Trial ${about.trial}`, about.on_front ? make("span", { class: "badge" }, "front") : null,
      broken.length ? make("span", { class: "badge bad" }, `breaks ${broken.map((one) => one.name).join(", ")}`) : null),
    make("p", { class: "line" }, `epoch ${about.epoch} of run ${about.run}${begun} · beta ${number(about.beta, 3)} · design ${about.design}`),
    make("p", { class: "line" }, about.drawn),
    make("div", { class: "figures" },
      figure(fixed(test.mean_auc), interval ? `test AUC, ${fixed(interval[0])} to ${fixed(interval[1])}` : "test AUC"),
      figure(fixed(validation.mean_auc), "validation AUC"), figure(fixed(test.mean_efficiency, 3), `efficiency at ${test.rate_khz} kHz`),
      figure(whole(cost.lut), `LUT, ${source}`), figure(whole(cost.ff), "FF"), figure(number(cost.latency_ns), "ns"), figure(whole(cost.ebops), "EBOPs")),
    make("h3", {}, "Efficiency against trigger rate, test events"), make("div", { id: "roc", class: "plot roc" }, waiting("scoring the test events")),
    make("h3", {}, "Scores, test events"), make("div", { id: "scores", class: "plot scores" }),
    scoresTable(about),
    make("h3", {}, "Cost by layer"), make("div", { id: "bars", class: "plot bars" }, waiting("compiling layer by layer")),
    make("div", { id: "layers" }),
    make("h3", {}, "Synthesis"), synthesis(about),
    make("h3", {}, "Parameters"), pairs(about.params),
    make("h3", {}, "Export"), command(about.export),
    make("p", { class: "hint" }, make("a", { href: about.optuna }, "This trial in the Optuna dashboard")));
}

const waiting = (text) => make("p", { class: "waiting" }, `${text} …`);

function scoresTable({ test, validation }) {
  const rows = Object.keys(test.auc).map((name) => {
    const interval = (test.intervals || {})[name];
    return [name, fixed(validation.auc[name]), fixed(test.auc[name]), interval ? `${fixed(interval[0])} – ${fixed(interval[1])}` : "–", fixed(test.efficiency[name], 3)];
  });
  return make("div", { class: "wide" }, grid(["signal", "validation AUC", "test AUC", "68 %", `at ${test.rate_khz} kHz`], rows),
    make("p", { class: "hint" }, `${test.passing} zero-bias test event${test.passing === 1 ? "" : "s"} at or above the threshold of ${test.rate_khz} kHz.`));
}

function grid(head, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text) => make("td", {}, String(text)))))));
}

const pairs = (params) => make("div", { class: "wide" }, grid(["parameter", "value"], Object.entries(params)));

function synthesis({ synthesis: said, jobs, cost }) {
  const estimate = { ...cost, ...(cost.estimated || {}) };
  const rows = [["estimate", whole(estimate.lut), whole(estimate.ff), number(estimate.dsp), "–"]];
  if (cost.source === "calibrated") rows.push(["calibrated", whole(cost.lut), whole(cost.ff), number(cost.dsp), "–"]);
  for (const one of said) rows.push([`${one.tool} ${one.version}, ${one.stage}`, whole(one.lut), whole(one.ff), number(one.dsp), number(one.wns_ns)]);
  const failed = jobs.filter((job) => job.outcome !== "ok").map((job) => make("p", { class: "hint" }, `job ${job.job}, ${job.tool}: ${job.outcome}. ${(job.evidence || [])[0] || ""}`));
  return make("div", { class: "wide" }, grid(["source", "LUT", "FF", "DSP", "WNS ns"], rows), ...failed);
}

function command(text) {
  const copy = make("button", { type: "button", on: { click: async () => { await navigator.clipboard.writeText(text); copy.textContent = "copied"; } } }, "copy");
  return make("div", { class: "command" }, make("code", {}, text), navigator.clipboard ? copy : null);
}

async function showPerformance(trial, mine) {
  let found;
  try {
    found = await get(api(`student/${trial}/test`));
  } catch (error) {
    if (mine === loading) $("roc").replaceChildren(make("p", {}, error.message));
    return;
  }
  if (mine !== loading) return;
  $("roc").replaceChildren();
  const rate = found.working_point_khz;
  const curves = found.signals.flatMap((signal, place) => {
    const line = { color: SERIES[place % SERIES.length], width: 1.8, shape: "hv" };
    return [
      { type: "scatter", mode: "lines", name: escaped(signal.name), legendgroup: place, x: signal.rate_khz, y: signal.efficiency, line, hovertemplate: `${escaped(signal.name)}<br>%{x:.3g} kHz · %{y:.3f}<extra></extra>` },
      { type: "scatter", mode: "markers", showlegend: false, legendgroup: place, x: [rate], y: [signal.at_rate], marker: { color: line.color, size: 8, symbol: "circle" }, hovertemplate: `${escaped(signal.name)}: %{y:.3f} at ${rate} kHz<extra></extra>` },
    ];
  });
  const small = { margin: { l: 54, r: 8, t: 6, b: 38 }, legend: { font: { size: 10 }, orientation: "h", y: 1.02, yanchor: "bottom" }, showlegend: true };
  const shapes = [{ type: "line", x0: rate, x1: rate, y0: 0, y1: 1, line: { color: colour("soft"), width: 1, dash: "dot" } }];
  const ticks = { tickvals: [1, 3, 10, 100, 1000, 10000], ticktext: ["1", "3", "10", "100", "1k", "10k"] };
  const quiet = { ...CONFIG, displayModeBar: false };
  await Plotly.react($("roc"), curves, base({ ...small, shapes, xaxis: { title: { text: "trigger rate, kHz" }, type: "log", range: [-0.3, Math.log10(28608)], ...ticks }, yaxis: { title: { text: "efficiency" }, range: [0, 1.02] } }), quiet);
  const bins = found.bins.slice(0, -1), last = Math.max(...[found.zero_bias, ...found.signals].map((one) => one.share.findLastIndex((s) => s > 0)));
  const drawn = [{ ...found.zero_bias, name: "zero bias" }, ...found.signals].map((one, place) => ({
    type: "scatter", mode: "lines", name: escaped(one.name), x: bins, y: one.share.map((s) => s || null), line: { shape: "hv", width: place ? 1.5 : 2.2, color: place ? SERIES[(place - 1) % SERIES.length] : colour("soft") },
    hovertemplate: `${escaped(one.name)}<br>score %{x} to ${"%{x}"} + 2 · %{y:.3g}<extra></extra>`.replace("%{x} + 2", "2 more"),
  }));
  await Plotly.react($("scores"), drawn, base({ ...small, showlegend: false, xaxis: { title: { text: "score (zero bias in grey)" }, range: [0, bins[Math.min(last + 2, bins.length - 1)]] }, yaxis: { title: { text: "share of events" }, type: "log", dtick: 1, exponentformat: "power" } }), quiet);
}

async function showLayers(trial, mine) {
  let found;
  try {
    found = await get(api(`student/${trial}/layers`));
  } catch (error) {
    if (mine === loading) $("bars").replaceChildren(make("p", {}, error.message));
    return;
  }
  if (mine !== loading) return;
  $("bars").replaceChildren();
  const names = ["input", ...found.layers.map((one) => one.name)], values = [found.input_lut, ...found.layers.map((one) => one.lut)];
  const quiet = { ...CONFIG, displayModeBar: false };
  await Plotly.react($("bars"), [{ type: "bar", orientation: "h", y: names, x: values, text: values.map(whole), textposition: "auto", marker: { color: colour("front") }, hovertemplate: "%{y}: %{x:,.0f} LUT<extra></extra>" }],
    base({ margin: { l: 62, r: 14, t: 4, b: 34 }, xaxis: { title: { text: "LUT, estimated" } }, yaxis: { autorange: "reversed" } }), quiet);
  for (const layer of found.layers) await showLayer(layer, quiet);
}

async function showLayer(layer, quiet) {
  const image = layer.input_shape.length === 3, shape = layer.input_shape.join("×");
  const total = layer.input_shape.reduce((a, b) => a * b, 1), weights = layer.weight_bits.length * layer.weight_bits[0].length;
  const entering = make("div", { class: "plot bits" }), kernel = make("div", { class: "plot bits" });
  const place = layer.bits_by_place ? make("div", { class: "plot bits" }) : null;
  $("layers").append(
    make("h3", {}, `${layer.name}: bits of what enters (${shape}), ${whole(layer.inputs_alive)} of ${whole(total)} left`), entering,
    make("h3", {}, `${layer.name}: bits of its weights, ${whole(layer.weights_alive)} of ${whole(weights)} left`), kernel,
    ...(place ? [make("h3", {}, `${layer.name}: weight bits that hang on each place`), place] : []));
  await heat(entering, image ? beside(layer.input_bits) : [layer.input_bits], image ? (layer.input_shape[2] > 1 ? "eta (channels side by side)" : "eta") : "input", image ? "phi" : "", quiet);
  await heat(kernel, layer.weight_bits[0].length > 1 ? transposed(layer.weight_bits) : [layer.weight_bits.map((row) => row[0])], "input", "output", quiet);
  if (place) await heat(place, layer.bits_by_place, "eta", "phi", quiet);
}

const transposed = (rows) => rows[0].map((_, i) => rows.map((row) => row[i]));
// Channels of an image, with an empty column between each two.
const beside = (channels) => channels[0].map((_, row) => channels.flatMap((channel, c) => (c ? [null, ...channel[row]] : channel[row])));

function heat(node, z, x, y, quiet) {
  const axis = { showgrid: false, tickformat: "d" };
  if (z.length <= 2) { node.classList.replace("bits", "strip"); y = ""; }
  return Plotly.react(node, [{ type: "heatmap", z, colorscale: COLD, zmin: 0, xgap: z[0].length < 60 ? 1 : 0, ygap: z.length < 40 ? 1 : 0, hoverongaps: false, colorbar: { thickness: 8, outlinewidth: 0, tickfont: { size: 10 } }, hovertemplate: `${x} %{x}, ${y} %{y}: %{z} bits<extra></extra>` }],
    base({ margin: { l: 40, r: 6, t: 4, b: 34 }, xaxis: { ...axis, title: { text: x } }, yaxis: { ...axis, title: { text: y }, autorange: "reversed", showticklabels: z.length > 2 } }), quiet);
}

// ---- keys and clicks ----------------------------------------------------------------------------

function listen() {
  const redraw = async () => { writeAddress(); await drawFront(); drawTable(); await drawParameters(); };
  for (const id of ["score", "split", "axis"]) $(id).addEventListener("change", redraw);
  $("source").addEventListener("change", () => { fillAxes(); redraw(); });
  for (const id of ["paths", "intervals", "infeasible", "log"]) $(id).addEventListener("change", drawFront);
  $("intervals").addEventListener("change", () => { if ($("intervals").checked && $("split").value === "validation") { $("split").value = "test"; redraw(); } });
  $("clear").addEventListener("click", clearBrushes);
  $("front").on("plotly_click", (event) => { const point = event.points.find((p) => p.customdata); if (point) openStudent(data.trial[point.customdata[0]]); });
  $("front").on("plotly_selected", (event) => {
    const indices = event && event.points.filter((p) => p.customdata).map((p) => p.customdata[0]);
    byFront = indices && indices.length ? new Set(indices) : null;
    afterBrush("front");
  });
  $("front").on("plotly_deselect", () => { byFront = null; afterBrush("front"); });
  $("parameters").on("plotly_restyle", () => { byParameters = readParameters(); afterBrush("parameters"); });
  $("front").addEventListener("keydown", onKey);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && open !== null) closeStudent(); });
  // Plotly follows the window alone, and a figure is narrower beside an open student.
  const sizes = new ResizeObserver((entries) => { for (const { target } of entries) if (target.data) Plotly.Plots.resize(target); });
  for (const id of ["front", "parameters"]) sizes.observe($(id));
  addEventListener("hashchange", () => { const trial = readAddress(); if (trial !== null && trial !== open) openStudent(trial); });
}

async function afterBrush(from) {
  drawTable();
  await drawFront();
  if (from === "front") await drawParameters();
}

async function clearBrushes() {
  byFront = byParameters = null;
  Plotly.purge($("parameters"));
  await drawParameters();
  $("parameters").on("plotly_restyle", () => { byParameters = readParameters(); afterBrush("parameters"); });
  await Plotly.relayout($("front"), { selections: [] });
  await drawFront();
  drawTable();
}

function onKey(event) {
  const last = frontOrder().length - 1, steps = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  if (event.key in steps) {
    event.preventDefault();
    cursor = Math.min(Math.max(cursor + steps[event.key], 0), last);
    drawFront();
  } else if (event.key === "Enter" && cursor >= 0) {
    event.preventDefault();
    openStudent(data.trial[frontOrder()[cursor]]);
  }
}

// ---- beginning ----------------------------------------------------------------------------------

function summarize() {
  const front = data.on_front.reduce((sum, one) => sum + one, 0);
  $("summary").textContent = `${whole(data.trial.length)} measured students, ${whole(front)} on the front, hypervolume ${number(data.hypervolume)}`;
  $("optuna").href = `/dashboard/studies/${data.study_id}`;
}

async function lookAgain() {
  try {
    const found = await get(api("points"));
    if (found.trial.length === data.trial.length && JSON.stringify(Object.keys(found.cost)) === JSON.stringify(Object.keys(data.cost))) return;
    data = found;
    byFront = byParameters = null;
    summarize();
    fillControls();
    await drawFront();
    drawTable();
    await drawParameters();
    complain("");
  } catch (error) {
    complain(`The dashboard does not answer: ${error.message}`);
  }
}

async function list() {
  $("studies").hidden = false;
  const { studies } = await get("/explorer/api/studies");
  $("summary").textContent = `${studies.length} ${studies.length === 1 ? "study" : "studies"}`;
  $("studies").append(...studies.map((one) => make("a", { class: "card", href: `/explorer/${encodeURIComponent(one.name)}` }, make("b", {}, one.name), make("p", { class: "hint" }, one.description))));
}

async function begin() {
  setTheme(localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  $("theme").addEventListener("click", async () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    localStorage.setItem("theme", document.documentElement.dataset.theme);
    if (!data || !data.trial.length) return;
    await drawFront();
    await drawParameters();
    if (open !== null) openStudent(open);
  });
  if (!study) return list();
  $("study").textContent = study;
  document.title = `${study} – Explorer`;
  $("summary").textContent = "reading the study …";
  data = await get(api("points"));
  summarize();
  if (!data.trial.length) return complain("This study has no measured student yet.");
  $("explorer").hidden = false;
  fillControls();
  const score = data.objectives.find((name) => name in data.scores.test.values);
  if (score) $("score").value = score;
  const trial = readAddress();
  fillAxes();
  drawTable();
  await plotly;
  await drawFront();
  performance.mark("drawn");
  await drawParameters();
  listen();
  performance.mark("ready");
  document.documentElement.dataset.ready = "true";
  if (trial !== null) openStudent(trial);
  setInterval(lookAgain, LOOK_AGAIN);
}

begin().catch((error) => complain(error.message));
