"use strict";
// The explorer: the front of one study (front.js), its parameters (parameters.js), one student (student.js).
// Whatever a study names (itself, signals, parameters, choices) is text: textContent, or escaped for Plotly.

const $ = (id) => document.getElementById(id);
const study = decodeURIComponent(location.pathname.replace(/^\/explorer\/?/, "").replace(/\/$/, ""));
const api = (path) => `/explorer/api/${encodeURIComponent(study)}/${path}`;
const SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6d1f", "#6a51a3"];
const COLD = [[0, "#00224e"], [0.25, "#35456c"], [0.5, "#7c7b78"], [0.75, "#bcaf6f"], [1, "#fee838"]]; // cividis
// The same scale, without the end that the page's colour swallows, in red, green and blue; the best stand out.
const RANKS = {
  light: [[217, 200, 113], [154, 148, 120], [74, 87, 122], [0, 34, 78]],
  dark: [[53, 69, 108], [109, 113, 121], [188, 175, 111], [254, 232, 56]],
};
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["autoScale2d", "toImage"] };
const LOOK_AGAIN = 15000; // ms between looks at a study that may be running
const ROWS = 100; // of the table

let data = null; // the study's points, one list a column
let tag = null; // of the data: what the server calls this state of the study
let frontOrder = []; // points of the front, cheapest first
let placeOnFront = new Map(); // the place of each of them
let open = null; // the trial whose student is open
let cursor = -1; // the place on the front under the keyboard's cursor
let byFront = null, byParameters = null; // what was brushed in either figure: 0 or 1 for each point
let picked = null; // what was brushed in both; null when nothing was
let loading = 0; // the last student asked for

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
const shortened = (text, most = 40) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const colours = new Map();
function colour(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return colours.get(name);
}

// Let something be done once before the next frame, however often it is asked for until then.
const waitingFor = new Map();
function soon(name, action) {
  if (!waitingFor.has(name)) requestAnimationFrame(() => { const wanted = waitingFor.get(name); waitingFor.delete(name); wanted(); });
  waitingFor.set(name, action);
}

// Let something be done after the next frame is on the screen.
const later = (name, action) => soon(name, () => setTimeout(action));
const number = (value, digits = 4) =>
  value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumSignificantDigits: digits });
const whole = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));
const fixed = (value, digits = 4) => (value === null || value === undefined ? "–" : value.toFixed(digits));

const scoreWord = (key) => ({ mean_auc: "mean AUC", worst_auc: "worst AUC" })[key] || key;

function scoreName(key) {
  const [kind, signal] = [key.split(":")[0], key.includes(":") ? key.slice(key.indexOf(":") + 1) : null];
  if (key === "mean_auc" || key === "worst_auc") return scoreWord(key);
  if (kind === "auc") return `AUC ${signal}`;
  return `${signal === null ? "mean efficiency" : `efficiency ${signal}`} at ${kind.split("@")[1]} kHz`;
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
  colours.clear();
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
const runOf = (i) => (data.parent[i] === null ? data.trial[i] : data.parent[i]);

function use(found) {
  data = found;
  const cost = data.cost.current[firstCost()];
  frontOrder = [...data.trial.keys()].filter((i) => data.on_front[i]).sort((a, b) => cost[a] - cost[b]);
  placeOnFront = new Map(frontOrder.map((i, k) => [i, k]));
}

// ---- brushes ------------------------------------------------------------------------------------

function combine() {
  picked = byFront && byParameters ? byFront.map((one, i) => one & byParameters[i]) : byFront || byParameters;
}

// The front and the table answer at once, the lines through the parameters in the frame after.
function afterBrush() {
  combine();
  paintFront();
  drawTable();
  later("lines", paintParameters);
}

function clearBrushes() {
  byFront = byParameters = null;
  parallel.ranges.clear();
  combine();
  if (($("front").layout.selections || []).length) Plotly.relayout($("front"), { selections: [] });
  paintFront();
  drawTable();
  later("lines", drawParameters);
}

// ---- table --------------------------------------------------------------------------------------

function drawTable() {
  const cost = data.cost.current, split = data.scores[$("split").value].values, order = cost[firstCost()];
  const indices = picked ? [...data.trial.keys()].filter((i) => picked[i]).sort((a, b) => order[a] - order[b]) : frontOrder;
  const shown = indices.slice(0, ROWS), students = (n) => `${whole(n)} ${n === 1 ? "student" : "students"}`;
  const more = indices.length > ROWS ? `, the ${ROWS} cheapest` : "";
  $("table-title").textContent = `${picked ? "Selection" : "Front"}: ${students(indices.length)}${more}`;
  $("clear").disabled = !picked;
  const names = ["trial", "run", "epoch", "LUT", "FF", "ns", "EBOPs", "mean AUC", ...data.signals];
  $("table-hint").textContent = `AUC: ${$("split").value} events. LUT, FF and ns: ${data.cost_source}.`;
  $("table").tHead.rows[0].replaceChildren(...names.map((name) => make("th", { scope: "col", title: name }, shortened(name, 24))));
  const texts = (i) => [runOf(i), data.epoch[i], whole(cost.lut[i]), whole(cost.ff[i]), number(cost.latency_ns[i]), whole(cost.ebops[i]),
    fixed(split.mean_auc[i]), ...data.signals.map((signal) => fixed(split[`auc:${signal}`][i], 3))];
  $("table").tBodies[0].replaceChildren(...shown.map((i) => row(data.trial[i], texts(i))));
}

// Rows are the slowest that a brush has to make: no more than they need, and one listener for all.
function row(trial, texts) {
  const node = document.createElement("tr"), button = document.createElement("button");
  if (trial === open) node.setAttribute("aria-current", "true");
  button.type = "button";
  button.textContent = trial;
  button.setAttribute("aria-label", `Open trial ${trial}`);
  button.dataset.trial = trial;
  node.insertCell().append(button);
  for (const text of texts) node.insertCell().textContent = text;
  return node;
}

// ---- what people do ------------------------------------------------------------------------------

// Other axes: the front answers at once, what stands below it in the frames after.
function redraw() {
  writeAddress();
  for (const key of ["score", "cost"]) parallel.ranges.delete(key); // they were ranges of something else
  byParameters = readParameters();
  combine();
  drawFront();
  later("table", drawTable);
  later("lines", drawParameters);
}

function listen() {
  for (const id of ["score", "split", "axis"]) $(id).addEventListener("change", redraw);
  $("source").addEventListener("change", () => { fillAxes(); redraw(); });
  for (const id of ["paths", "infeasible", "log"]) $(id).addEventListener("change", drawFront);
  $("intervals").addEventListener("change", () => {
    // There are none of validation events.
    if ($("intervals").checked && !data.scores[$("split").value].intervals[$("score").value]) { $("split").value = "test"; redraw(); } else drawFront();
  });
  $("clear").addEventListener("click", clearBrushes);
  $("table").addEventListener("click", ({ target }) => { if (target.dataset.trial) openStudent(Number(target.dataset.trial), true); });
  listenFront();
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && open !== null) closeStudent(); });
  // Plotly follows the window alone, and a figure is narrower beside an open student.
  new ResizeObserver(() => soon("front size", () => Plotly.Plots.resize($("front")))).observe($("front"));
  new ResizeObserver(() => soon("lines", paintParameters)).observe($("parameters"));
  addEventListener("hashchange", () => { const trial = readAddress(); if (trial !== null && trial !== open) openStudent(trial); });
}

// ---- beginning ----------------------------------------------------------------------------------

function summarize() {
  const front = data.on_front.reduce((sum, one) => sum + one, 0);
  $("summary").textContent = `${whole(data.trial.length)} measured students, ${whole(front)} on the front, hypervolume ${number(data.hypervolume)}`;
  $("optuna").href = `/dashboard/studies/${data.study_id}`;
}

async function look() {
  const answer = await fetch(api("points"));
  if (answer.ok && tag !== null && answer.headers.get("ETag") === tag) return null;
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.reason || answer.statusText);
  tag = answer.headers.get("ETag");
  return content;
}

// A running study grows: what was selected stays selected, what is open stays open.
async function lookAgain() {
  try {
    const found = await look();
    complain("");
    if (!found) return;
    if (!data.trial.length) return location.reload();
    const chosen = byFront && new Set(data.trial.filter((_, i) => byFront[i])), kept = keptRanges();
    use(found);
    byFront = chosen && Uint8Array.from(data.trial, (trial) => Number(chosen.has(trial)));
    cursor = -1;
    summarize();
    fillControls();
    kept();
    byParameters = readParameters();
    combine();
    drawFront();
    drawTable();
    drawParameters();
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
  $("theme").addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    localStorage.setItem("theme", document.documentElement.dataset.theme);
    if (!data || !data.trial.length) return;
    drawFront();
    later("lines", paintParameters);
    if (open !== null) openStudent(open);
  });
  if (!study) return list();
  $("study").textContent = study;
  document.title = `${study} – Explorer`;
  $("summary").textContent = "reading the study …";
  use(await look());
  summarize();
  setInterval(lookAgain, LOOK_AGAIN);
  if (!data.trial.length) return complain(nothingYet());
  $("explorer").hidden = false;
  fillControls();
  const score = data.objectives.find((name) => name in data.scores.test.values);
  if (score) $("score").value = score;
  const trial = readAddress();
  fillAxes();
  drawTable();
  await plotly;
  await drawFront();
  listen();
  paintFront();
  performance.mark("drawn");
  drawParameters();
  performance.mark("ready");
  document.documentElement.dataset.ready = "true";
  if (trial !== null) openStudent(trial);
}

function nothingYet() {
  const { failed, running } = data.runs;
  const runs = (n) => `${n} training ${n === 1 ? "run" : "runs"}`;
  const state = [failed ? `${runs(failed)} ended without one` : "", running ? `${runs(running)} under way` : ""].filter(Boolean).join(", ");
  return `This study has no measured student yet${state ? `: ${state}` : ""}.${failed ? " The notes of the Optuna dashboard say why runs ended." : ""}`;
}

begin().catch((error) => complain(error.message));
