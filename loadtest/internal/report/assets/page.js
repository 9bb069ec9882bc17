"use strict";
// Draws the charts of `run`, and dashed those of `old`, if there is one.

const palettes = {
  light: {text: "#1b1f24", grid: "#e4e8ec", p50: "#1a7f37", p99: "#0969da", max: "#cf222e", rate: "#0969da", errors: "#cf222e",
    met: "#1a7f37", missed: "#cf222e", update: "rgba(212, 167, 44, .25)"},
  dark: {text: "#d1d7e0", grid: "#2f3742", p50: "#3fb950", p99: "#58a6ff", max: "#ff7b72", rate: "#58a6ff", errors: "#ff7b72",
    met: "#3fb950", missed: "#ff7b72", update: "rgba(210, 153, 34, .3)"},
};
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const runs = old ? [run, old] : [run];
let colors = palettes.light;
let charts = [];

// Returns the series over the union of their times, as uPlot wants them.
function overTime(series) {
  return uPlot.join(series.map(s => {
    const timeline = s.run.timeline || [];
    return [timeline.map(i => i.start_s + i.width_s / 2), s.values(timeline)];
  }));
}

// Returns the values of the intervals. An interval without requests has none: null leaves a gap, if at least three
// requests would have been expected in these intervals, and undefined joins the neighbours.
function withGaps(value) {
  return timeline => {
    const mean = timeline.reduce((sum, i) => sum + i.requests, 0) / timeline.length;
    const values = [];
    for (let from = 0; from < timeline.length;) {
      let to = from;
      while (to < timeline.length && timeline[to].requests === 0) to++;
      if (to === from) values.push(value(timeline[to++]));
      else for (let i = from; i < to; i++) values.push((to - from) * mean >= 3 ? null : undefined);
      from = to;
    }
    return values;
  };
}

// Returns the rates of a count. The last interval may end after the run: less than half an interval says nothing.
function rates(r, count) {
  return timeline => timeline.map(i => {
    const width = Math.min(i.width_s, r.seconds - i.start_s);
    return width < i.width_s / 2 ? undefined : count(i) / width;
  });
}

// Returns the indices of the points between two gaps, which are on no line; null if there are none.
function isolated(u, series) {
  const values = u.data[series];
  const known = [...values.keys()].filter(i => values[i] !== undefined);
  const gap = i => i === undefined || values[i] === null;
  const points = known.filter((at, i) => !gap(at) && gap(known[i - 1]) && gap(known[i + 1]));
  return points.length > 0 ? points : null;
}

// Returns a value for the legend: "-" in a gap; nothing if the cursor is elsewhere, or between two points of the line.
function legendValue(u, v, series, index) {
  if (index == null || v === undefined) return "";
  return v === null ? "-" : v.toLocaleString("en");
}

function line(label, color, dashed) {
  return {
    label, value: legendValue, stroke: color, width: dashed ? 1 : 1.5, dash: dashed ? [5, 4] : undefined,
    points: {show: false, filter: isolated, size: 4, fill: color},
  };
}

// In the legend, lines of this run have a filled square, those of the old run a dashed one.
const legend = {
  markers: {
    dash: (u, i) => u.series[i].dash ? "dashed" : "solid",
    fill: (u, i) => u.series[i].dash ? "transparent" : u.series[i].points.fill() || u.series[i].stroke(),
  },
};

// Returns the label of a line; in a comparison it begins with the run, as the table's columns do.
function name(r, label) { return old ? (r === run ? "new: " : "old: ") + label : label; }

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

// An axis in the colors of the page.
function axis(options) {
  return {stroke: colors.text, grid: {stroke: colors.grid, width: 1}, ticks: {stroke: colors.grid, width: 1}, ...options};
}

function draw(id, options, data) {
  const at = document.getElementById(id);
  if (!at) return;
  at.replaceChildren();
  if (!data || data[0].length === 0) {
    at.innerHTML = '<p class="none">No data.</p>';
    return;
  }
  const size = () => ({width: at.clientWidth || 500, height: 260});
  const chart = new uPlot({...size(), cursor: {y: false}, legend, ...options}, data, at);
  charts.push({chart, resize: () => chart.setSize(size())});
}

// A logarithmic axis has no 0: values below a microsecond are drawn as one microsecond.
const aboveZero = v => v == null ? null : Math.max(v, 0.001);

// A logarithmic scale from and to 1, 2 or 5 times a power of ten.
const logarithmic = {
  distr: 3,
  range: (u, min, max) => {
    const bounds = v => [1, 2, 5, 10].map(n => n * Math.pow(10, Math.floor(Math.log10(v))));
    const from = Math.max(...bounds(min).filter(b => b <= min * 1.001)), to = Math.min(...bounds(max).filter(b => b >= max));
    return from < to ? [from, to] : [from / 2, to * 2];
  },
};

// An axis for it, with lines at 1, 2 and 5 times the powers of ten, or only at these if there are many.
function logarithmicAxis() {
  return axis({
    size: 70,
    grid: {
      stroke: colors.grid, width: 1,
      filter: (u, splits) => {
        const many = splits[splits.length - 1] / splits[0] > 1000;
        return splits.map(v => (many ? ["1"] : ["1", "2", "5"]).includes(v.toExponential()[0]) ? v : null);
      },
    },
    ticks: {show: false},
  });
}

function drawTimes(id, figures, scaleY, axisY) {
  const series = runs.flatMap(r => (r.timeline || []).length === 0 ? [] :
    figures(r).map(f => ({run: r, values: f.values, ...line(name(r, f.label), f.color, r !== run)})));
  if (series.length === 0) return draw(id, {}, null);
  draw(id, {
    scales: {x: {time: false}, y: scaleY},
    axes: [axis({values: seconds, space: 70}), axisY],
    series: [{label: "time", value: (u, v) => v == null ? "" : v.toFixed(2) + " s"}, ...series.map(({run, values, ...s}) => s)],
    plugins: [shadeUpdates],
  }, overTime(series));
}

// Keeps the labels of an axis that do not overlap; the last one is always kept.
function fitting(u, splits, label) {
  const least = 60;
  const last = splits.length - 1;
  let before = -Infinity;
  return splits.map((v, i) => {
    const at = u.valToPos(v, "x");
    const fits = i === last || at - before >= least && u.valToPos(splits[last], "x") - at >= least;
    if (fits) before = at;
    return fits ? label(v) : null;
  });
}

// The percentile curve on a logarithmic axis: 90%, 99%, 99.9%, ...
function drawPercentiles() {
  const place = percent => -Math.log10(Math.max(1 - percent / 100, 1e-6));
  const series = runs.map(r => ({run: r, ...line(name(r, r.name), colors.p99, r !== run)}));
  const data = uPlot.join(runs.map(r => {
    const percentiles = r.latency_percentiles || r.percentiles || [];
    return [percentiles.map(p => place(p.percent)), percentiles.map(p => aboveZero(p.ms))];
  }));
  const percent = v => v === 6 ? "max" : +(100 * (1 - Math.pow(10, -v))).toFixed(4) + "%";
  draw("percentiles", {
    scales: {x: {time: false}, y: logarithmic},
    axes: [
      axis({splits: () => [0, 0.30103, 1, 2, 3, 4, 5, 6], values: (u, splits) => fitting(u, splits, percent)}),
      logarithmicAxis(),
    ],
    series: [{label: "requests", value: (u, v) => v == null ? "" : percent(v)}, ...series.map(({run, ...s}) => s)],
  }, data);
}

// The steps of a search: the rate against the 99th percentile, and a line at the highest rate that met the SLO.
function drawSearch() {
  const steps = ((run.search || {}).steps || []).filter(s => s.p99_ms > 0).sort((a, b) => a.rate - b.rate);
  const points = (label, color, keep) => ({
    label, value: legendValue, stroke: color, width: 0, paths: () => null, points: {show: true, size: 8, fill: color}, keep,
  });
  const series = [
    {...line("99%", colors.text, false), width: 0.5, keep: () => true},
    points("met", colors.met, s => s.met),
    points("missed", colors.missed, s => !s.met),
  ];
  const knee = {
    hooks: {
      draw: u => {
        if (!run.search.highest_rate) return;
        const x = u.valToPos(run.search.highest_rate, "x", true);
        u.ctx.save();
        u.ctx.strokeStyle = u.ctx.fillStyle = colors.met;
        u.ctx.setLineDash([6, 4]);
        u.ctx.beginPath();
        u.ctx.moveTo(x, u.bbox.top);
        u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
        u.ctx.stroke();
        const left = x > u.bbox.left + u.bbox.width / 2;
        u.ctx.textAlign = left ? "right" : "left";
        u.ctx.textBaseline = "top";
        u.ctx.fillText(run.search.highest_rate + "/s", x + (left ? -6 : 6), u.bbox.top + 4);
        u.ctx.restore();
      },
    },
  };
  draw("search", {
    scales: {x: {time: false}, y: logarithmic},
    axes: [axis({values: (u, values) => values.map(v => v.toLocaleString("en") + "/s"), space: 80}), logarithmicAxis()],
    series: [{label: "rate", value: legendValue}, ...series.map(({keep, ...s}) => s)],
    plugins: [knee],
  }, [steps.map(s => s.rate), ...series.map(({keep}) => steps.map(s => keep(s) ? aboveZero(s.p99_ms) : null))]);
}

function drawAll(dark) {
  colors = dark ? palettes.dark : palettes.light;
  charts.forEach(({chart}) => chart.destroy());
  charts = [];
  drawTimes("latency", r => [
    {label: "median", color: colors.p50, values: withGaps(i => aboveZero(i.p50_ms))},
    {label: "99%", color: colors.p99, values: withGaps(i => aboveZero(i.p99_ms))},
    {label: "max", color: colors.max, values: withGaps(i => aboveZero(i.max_ms))},
  ].slice(0, r === run ? 3 : 2), logarithmic, logarithmicAxis()); // six lines are too many
  const fromZero = {range: (u, min, max) => [0, Math.max(max * 1.05, 1)]};
  drawTimes("throughput", r => [{label: "requests/s", color: colors.rate, values: rates(r, i => i.requests)}], fromZero,
    axis({size: 70}));
  drawTimes("errors", r => [{label: "errors/s", color: colors.errors, values: rates(r, i => i.errors)}], fromZero, axis({size: 70}));
  drawPercentiles();
  drawSearch();
  document.body.dataset.drawn = charts.length;
}

drawAll(prefersDark.matches);
prefersDark.addEventListener("change", () => drawAll(prefersDark.matches));
addEventListener("resize", () => charts.forEach(({resize}) => resize()));
// Paper is white.
addEventListener("beforeprint", () => drawAll(false));
addEventListener("afterprint", () => drawAll(prefersDark.matches));
