"use strict";
// The charts of the last half hour, or of what there is of it.

const shownMs = 30 * 60 * 1000;
const shortestSpan = 120; // s, of the charts
const past = { time: [], rate: [], errors: [], p50: [], p99: [], level: [] }; // times in s, as uPlot wants them
const pastUpdates = new Map(); // by server and start
let p99Limit = 0;
const charts = [];

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// addSample adds the sample of one second to the charts. A gap of several seconds interrupts the lines.
function addSample(s) {
  const time = s.time_ms / 1000;
  const before = past.time.at(-1);
  if (before >= time) return;
  if (time - before > 5) addPoint(before + 1, null, null, null, null, "");
  addPoint(time, s.rate_per_second, s.errors_per_second, s.p50_ms || null, s.p99_ms || null, s.level);
}

function addPoint(...values) {
  Object.values(past).forEach((column, i) => column.push(values[i]));
}

function dropOld() {
  const oldest = (serverNow() - shownMs) / 1000;
  const first = past.time.findIndex((time) => time >= oldest);
  if (first > 0) for (const column of Object.values(past)) column.splice(0, first);
  for (const [key, u] of pastUpdates) if (u.ended_at && new Date(u.ended_at) / 1000 < oldest) pastUpdates.delete(key);
}

function setHistory(h) {
  for (const column of Object.values(past)) column.length = 0;
  pastUpdates.clear();
  h.time_ms.forEach((time_ms, i) => addSample({
    time_ms, rate_per_second: h.rate_per_second[i], errors_per_second: h.errors_per_second[i], p50_ms: h.p50_ms[i], p99_ms: h.p99_ms[i], level: h.level[i],
  }));
  addUpdates(h.updates);
}

function addUpdates(updates) {
  for (const u of updates) pastUpdates.set(`${u.instance} ${u.started_at}`, u);
}

// position returns the place of a time, within the chart.
const position = (u, seconds) => Math.min(Math.max(u.valToPos(seconds, "x", true), u.bbox.left), u.bbox.left + u.bbox.width);

// Shades the updates, and draws the bar of the levels at the top.
function drawBackground(u) {
  const x = (seconds) => position(u, seconds);
  const fill = (from, to, top, height) => u.ctx.fillRect(x(from), top, Math.max(x(to) - x(from), 1), height);
  u.ctx.fillStyle = color("update");
  for (const update of pastUpdates.values()) {
    if (update.failed && !update.ended_at) continue; // its server died at an unknown time
    const end = update.ended_at ? new Date(update.ended_at) : Math.min(serverNow(), past.time.at(-1) * 1000);
    fill(new Date(update.started_at) / 1000, end / 1000, u.bbox.top, u.bbox.height);
  }
  const bar = 6 * devicePixelRatio;
  for (let from = 0; from < past.time.length;) {
    let to = from;
    while (to < past.time.length && past.level[to] === past.level[from]) to++;
    const level = past.level[from];
    if (level) {
      u.ctx.fillStyle = color(["ok", "degraded", "down"].includes(level) ? level : "none");
      fill(past.time[from] - 1, past.time[to - 1], u.bbox.top, bar);
    }
    from = to;
  }
}

// lastGap reports whether samples have been missing for some seconds.
const lastGap = () => past.time.length > 0 && serverNow() / 1000 - past.time.at(-1) > 5;

function drawGaps(u) {
  past.level.forEach((level, i) => {
    if (!level) drawGap(u, position(u, past.time[i] - 1), position(u, past.time[i + 1] - 1));
  });
  if (lastGap()) drawGap(u, position(u, past.time.at(-1)), position(u, serverNow() / 1000));
  if (past.time[0] > serverNow() / 1000 - shortestSpan) drawGap(u, u.bbox.left, position(u, past.time[0] - 1), `started ${clock(last.server.started_at)}`, true);
}

// Hatches a period without data, and names it: if there is room, or in any case.
function drawGap(u, from, to, text = "no data", always = false) {
  if (to <= from) return;
  const { top, height } = u.bbox;
  const ctx = u.ctx;
  ctx.save();
  ctx.fillStyle = color("none-back");
  ctx.fillRect(from, top, to - from, height);
  ctx.beginPath();
  ctx.rect(from, top, to - from, height);
  ctx.clip();
  ctx.strokeStyle = color("none");
  ctx.lineWidth = devicePixelRatio / 2;
  ctx.beginPath();
  for (let x = from - height; x < to; x += 8 * devicePixelRatio) {
    ctx.moveTo(x, top + height);
    ctx.lineTo(x + height, top);
  }
  ctx.stroke();
  ctx.restore();
  ctx.save();
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  const width = ctx.measureText(text).width + 8 * devicePixelRatio;
  if (always || width <= to - from) {
    const middle = Math.max((from + to) / 2, from + width / 2);
    ctx.fillStyle = color("none-back");
    ctx.fillRect(middle - width / 2, top + height / 2 - 9 * devicePixelRatio, width, 18 * devicePixelRatio);
    ctx.fillStyle = color("text");
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillText(text, middle, top + height / 2);
  }
  ctx.restore();
}

// span returns the first and the last second of the charts: what there is, but at least 2 minutes.
function span() {
  const now = serverNow() / 1000;
  return [Math.max(now - shownMs / 1000, Math.min(past.time[0] ?? now, now - shortestSpan)), now];
}

// Draws the limit of the latency. The legend has its value.
function drawLimit(u) {
  if (!p99Limit) return;
  const y = u.valToPos(p99Limit, "y", true);
  u.ctx.save();
  u.ctx.strokeStyle = color("threshold");
  u.ctx.setLineDash([8, 5]);
  u.ctx.lineWidth = devicePixelRatio;
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, y);
  u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
  u.ctx.stroke();
  u.ctx.restore();
}

const axis = (options) => ({
  stroke: () => color("text"), grid: { stroke: () => color("line"), width: 1 }, ticks: { stroke: () => color("line"), width: 1 },
  font: "12px system-ui, sans-serif", ...options,
});
const line = (name, options) => ({ stroke: () => color(name), width: 1.5, points: { show: false }, ...options });
const decades = (min, max) => {
  const all = [];
  for (let power = Math.round(Math.log10(min)); power <= Math.round(Math.log10(max)); power++) all.push(+Math.pow(10, power).toPrecision(1));
  return all;
};

function addChart(id, options) {
  const at = find(id);
  const size = () => ({ width: document.documentElement.classList.contains("print") ? 660 : at.clientWidth, height: 170 });
  const chart = new uPlot({
    ...size(),
    padding: [6, 28, 0, 0],
    legend: { show: false },
    cursor: { y: false, sync: { key: "time" }, points: { size: 6 } },
    ...options,
    scales: { x: { range: span }, ...options.scales },
    axes: [axis({ space: 70, size: 28, values: (u, splits, i, space, step) => splits.map((s) => clock(s * 1000, step < 60)) }), axis({ size: 64, ...options.axis })],
    series: [{}, ...options.series],
    hooks: { drawClear: [drawBackground], draw: [drawGaps, ...(options.draw ?? [])], setCursor: [readout] },
  }, [[], [], []], at);
  charts.push({ chart, at, columns: options.columns, resize: () => chart.setSize(size()) });
}

// readout shows the values at the pointer.
function readout(u) {
  const i = u.cursor.idx;
  if (i == null || past.time[i] === undefined || past.rate[i] === null) return put("readout", "");
  put("readout", `${zoned(past.time[i] * 1000)}: ${perSecond(past.rate[i])} requests/s, ${perSecond(past.errors[i])} failed/s, median ${latency(past.p50[i])}, 99th percentile ${latency(past.p99[i])}.`);
}

addChart("rate-chart", {
  columns: ["rate", "errors"],
  scales: { y: { range: (u, min, max) => [0, Math.max(max * 1.15, 1)] } },
  axis: { values: (u, splits) => splits.map((v) => count(v)), incrs: [1, 2, 5].flatMap((n) => [n, n * 10, n * 100, n * 1000, n * 10000, n * 100000]).sort((a, b) => a - b) },
  series: [line("rate"), line("errors", { dash: [4, 2], width: 2 })],
});
addChart("latency-chart", {
  columns: ["p50", "p99"],
  scales: { y: { distr: 3, range: (u, min, max) => [Math.pow(10, Math.floor(Math.log10(min || 0.1))), Math.pow(10, Math.ceil(Math.log10(Math.max(max || 0, p99Limit * 1.5, 1))))] } },
  axis: { splits: (u, i, min, max) => decades(min, max), values: (u, splits) => splits.map((v) => (v === null ? "" : duration(v))), filter: (u, splits) => splits },
  series: [line("p50"), line("p99", { width: 2 })],
  draw: [drawLimit],
});

const highest = (values) => values.reduce((a, b) => Math.max(a, b ?? 0), 0);

function drawCharts() {
  dropOld();
  for (const { chart, columns } of charts) chart.setData([past.time, ...columns.map((name) => past[name])]);
}

// describeCharts sets the labels of the charts for screen readers.
function describeCharts() {
  if (past.time.length === 0) return;
  const now = (name, write) => write(past[name].at(-1) ?? 0);
  const from = Math.max(span()[0], past.time[0] - 1); // what is before that has no data
  const over = compound(1000 * Math.round(serverNow() / 1000 - from), 2) + (lastGap() ? `, no data after ${zoned(past.time.at(-1) * 1000)}` : "");
  find("rate-chart").ariaLabel = `Requests per second over the last ${over}: latest ${now("rate", perSecond)}, at most ${perSecond(highest(past.rate))}; failed: latest ${now("errors", perSecond)}, at most ${perSecond(highest(past.errors))}.`;
  find("latency-chart").ariaLabel = `Latency over the last ${over}: 99th percentile latest ${now("p99", latency)}, at most ${latency(highest(past.p99))}; limit ${duration(p99Limit)}.`;
}

// minutes returns the rows of the table: the latest minute first.
function minutes() {
  const groups = Map.groupBy(past.time.keys(), (i) => Math.floor(past.time[i] / 60));
  return [...groups].reverse().map(([minute, indices]) => {
    const values = (name) => indices.map((i) => past[name][i]).filter((v) => v !== null && v !== "");
    const mean = (all) => (all.length > 0 ? perSecond(all.reduce((a, b) => a + b, 0) / all.length) : "–");
    return [clock(minute * 60000, false), mean(values("rate")), mean(values("errors")), latency(highest(values("p50"))), latency(highest(values("p99"))), [...new Set(values("level"))].join(", ")];
  });
}

const resizeCharts = () => charts.forEach(({ resize }) => resize());
new ResizeObserver(resizeCharts).observe(find("rate-chart"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({ chart }) => chart.redraw(false)));
// Paper is white and narrow.
for (const [event, on] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(event, () => { document.documentElement.classList.toggle("print", on); resizeCharts(); });
