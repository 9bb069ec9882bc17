"use strict";
// Draws the charts of `run`, and dashed those of `old`, if there is one.

const colors = {p50: "#1a7f37", p99: "#0969da", max: "#cf222e", rate: "#0969da", errors: "#cf222e", update: "rgba(212, 167, 44, .25)"};
const runs = old ? [run, old] : [run];
const charts = [];

// Returns the series over the union of their times, as uPlot wants them.
function overTime(series) {
  const columns = series.map(s => {
    const timeline = s.run.timeline || [];
    return [timeline.map(i => i.start_s + i.width_s / 2), timeline.map(s.value)];
  });
  return uPlot.join(columns);
}

function line(label, color, dashed) {
  return {label, stroke: color, width: dashed ? 1 : 1.5, dash: dashed ? [5, 4] : undefined, spanGaps: true, points: {show: false}};
}

function name(r, label) { return r === run ? label : label + " (" + r.name + ")"; }

// Shades the periods in which the server updated its users.
const shadeUpdates = {
  hooks: {
    drawClear: u => {
      for (const update of run.updates || []) {
        const left = Math.max(u.valToPos(update.start_s, "x", true), u.bbox.left);
        const right = Math.min(u.valToPos(update.end_s, "x", true), u.bbox.left + u.bbox.width);
        u.ctx.fillStyle = colors.update;
        if (right > left) u.ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
      }
    },
  },
};

const seconds = (u, values) => values.map(v => +v.toFixed(3) + " s");

function draw(id, options, data) {
  const at = document.getElementById(id);
  if (!data || data[0].length === 0) {
    at.innerHTML = '<p class="none">No data.</p>';
    return;
  }
  const size = () => ({width: at.clientWidth || 500, height: 260});
  const chart = new uPlot({...size(), cursor: {y: false}, ...options}, data, at);
  charts.push(() => chart.setSize(size()));
}

// A logarithmic axis has no 0: values below a microsecond are drawn as one microsecond.
const aboveZero = v => v == null ? null : Math.max(v, 0.001);

function drawTimes(id, figures, scaleY, isTime) {
  const series = runs.flatMap(r => (r.timeline || []).length === 0 ? [] :
    figures.map(f => ({run: r, value: f.value, ...line(name(r, f.label), f.color, r !== run)})));
  if (series.length === 0) return draw(id, {}, null);
  draw(id, {
    scales: {x: {time: false}, y: scaleY},
    axes: [{values: seconds}, {size: 60}],
    series: [{label: "time", value: (u, v) => v == null ? "" : v.toFixed(2) + " s"}, ...series.map(({run, value, ...s}) => s)],
    plugins: [shadeUpdates],
  }, overTime(series));
}

drawTimes("latency", [
  {label: "median", color: colors.p50, value: i => i.requests ? aboveZero(i.p50_ms) : null},
  {label: "99%", color: colors.p99, value: i => i.requests ? aboveZero(i.p99_ms) : null},
  {label: "max", color: colors.max, value: i => i.requests ? aboveZero(i.max_ms) : null},
], {distr: 3});
drawTimes("throughput", [{label: "requests/s", color: colors.rate, value: i => i.requests / i.width_s}], {range: (u, min, max) => [0, max * 1.05 || 1]});
drawTimes("errors", [{label: "errors/s", color: colors.errors, value: i => i.errors / i.width_s}], {range: (u, min, max) => [0, Math.max(max * 1.05, 1)]});

// The percentile curve on a logarithmic axis: 90%, 99%, 99.9%, ...
function drawPercentiles() {
  const place = percent => -Math.log10(Math.max(1 - percent / 100, 1e-6));
  const series = runs.map(r => ({run: r, ...line(r.name, colors.p99, r !== run)}));
  const data = uPlot.join(runs.map(r => {
    const percentiles = r.latency_percentiles || r.percentiles || [];
    return [percentiles.map(p => place(p.percent)), percentiles.map(p => aboveZero(p.ms))];
  }));
  const percent = v => +(100 * (1 - Math.pow(10, -v))).toFixed(4) + "%";
  draw("percentiles", {
    scales: {x: {time: false}, y: {distr: 3}},
    axes: [{splits: () => [0, 0.30103, 1, 2, 3, 4, 5, 6], values: (u, vs) => vs.map(v => v === 6 ? "all" : percent(v))}, {size: 60}],
    series: [{label: "requests", value: (u, v) => v == null ? "" : v === 6 ? "all" : percent(v)}, ...series.map(({run, ...s}) => s)],
  }, data);
}
drawPercentiles();

addEventListener("resize", () => charts.forEach(resize => resize()));
document.body.dataset.drawn = charts.length;
