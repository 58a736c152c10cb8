"use strict";
// One student: what is recorded of it, its curves, its layers, and what synthesis and export found.

async function openStudent(trial, move = false) {
  open = trial;
  const mine = ++loading, panel = $("student");
  panel.hidden = false;
  panel.replaceChildren(make("p", { class: "waiting" }, `Trial ${trial} …`));
  writeAddress();
  paintMarks();
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
  paintMarks();
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
      figure(fixed(validation.mean_auc), "validation AUC"),
      ...atRates(test).map((at) => figure(fixed(at.mean_efficiency, 3), `efficiency at ${at.rate_khz} kHz`)),
      figure(whole(cost.lut), `LUT, ${source}`), figure(whole(cost.ff), "FF"), figure(number(cost.latency_ns), "ns"), figure(whole(cost.ebops), "EBOPs")),
    make("h3", {}, "Efficiency against trigger rate, test events"), make("div", { id: "roc", class: "plot roc" }, waiting("scoring the test events")),
    make("h3", {}, "Scores, test events"), make("div", { id: "scores", class: "plot scores" }),
    scoresTable(about),
    make("h3", {}, "Cost by layer"), make("div", { id: "bars", class: "plot bars" }, waiting("compiling layer by layer")),
    make("div", { id: "layers" }),
    make("h3", {}, "Synthesis"), synthesis(about),
    make("h3", {}, "Parameters"), pairs(about.params),
    make("h3", {}, "Export and certificate"), ...certificates(about), command(about.export),
    make("p", { class: "hint" }, make("a", { href: about.optuna }, "This trial in the Optuna dashboard")));
}

const waiting = (text) => make("p", { class: "waiting" }, `${text} …`);

// Efficiencies at each recorded trigger rate, lowest first.
const atRates = (scores) => [scores, ...(scores.at_other_rates || [])].sort((a, b) => a.rate_khz - b.rate_khz);

function scoresTable({ test, validation }) {
  const rows = Object.keys(test.auc).map((name) => {
    const interval = (test.intervals || {})[name];
    return [name, fixed(validation.auc[name]), fixed(test.auc[name]), interval ? `${fixed(interval[0])} – ${fixed(interval[1])}` : "–",
      ...atRates(test).map((at) => fixed(at.efficiency[name], 3))];
  });
  const rates = atRates(test).map((at) => `at ${at.rate_khz} kHz`);
  return make("div", { class: "wide" }, grid(["signal", "validation AUC", "test AUC", "68 %", ...rates], rows),
    ...atRates(test).map((at) => make("p", { class: "hint" },
      `${at.passing} zero-bias test event${at.passing === 1 ? "" : "s"} at or above the threshold of ${at.rate_khz} kHz.`)));
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

function certificates({ exports: known }) {
  if (!known.length) return [make("p", { class: "hint" }, "No export of it is known to this study. This makes one and compares it bit by bit:")];
  return known.map((one) => make("div", { class: "wide" },
    make("p", { class: "line" }, one.verified ? make("span", { class: "badge" }, "equal in every bit") : make("span", { class: "badge bad" }, "not all could be compared"),
      ` ${one.created.slice(0, 16).replace("T", " ")} · ${one.folder} · emulator ${one.version}`),
    grid(["form", "events", "differ", "with"], one.compared.map((form) => form.missing ? [form.form, "–", "–", form.missing] : [form.form, whole(form.events), whole(form.mismatches), form.tools]))));
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
  const bins = found.bins.slice(0, -1), first = Math.max(0, Math.min(...[found.zero_bias, ...found.signals].map((one) => one.share.findIndex((s) => s > 0))) - 2),
    last = Math.max(...[found.zero_bias, ...found.signals].map((one) => one.share.findLastIndex((s) => s > 0)));
  const drawn = [{ ...found.zero_bias, name: "zero bias" }, ...found.signals].map((one, place) => ({
    type: "scatter", mode: "lines", name: escaped(one.name), x: bins, y: one.share.map((s) => s || null), line: { shape: "hv", width: place ? 1.5 : 2.2, color: place ? SERIES[(place - 1) % SERIES.length] : colour("soft") },
    hovertemplate: `${escaped(one.name)}<br>score %{x} to ${"%{x}"} + 2 · %{y:.3g}<extra></extra>`.replace("%{x} + 2", "2 more"),
  }));
  await Plotly.react($("scores"), drawn, base({ ...small, showlegend: false, xaxis: { title: { text: "score (zero bias in grey)" }, range: [bins[first], bins[Math.min(last + 2, bins.length - 1)]] }, margin: { ...small.margin, l: 62 }, yaxis: { title: { text: "share of events", standoff: 6 }, type: "log", dtick: 1, exponentformat: "power", tickfont: { size: 11 } } }), quiet);
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
