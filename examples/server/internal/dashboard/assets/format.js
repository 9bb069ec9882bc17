"use strict";
// How the page writes numbers, durations and times.

const integers = new Intl.NumberFormat("en");
const count = (n) => integers.format(Math.round(n));

// perSecond formats a rate; small ones keep two digits, so that they differ from zero.
const perSecond = (n) => (n === 0 || n >= 10 ? count(n) : n.toPrecision(2).replace(/\.0$/, ""));

// three returns a number with three significant digits at most, without zeros at its end.
const three = (n) => (n >= 100 ? n.toFixed(0) : String(+n.toPrecision(3)));

// duration returns a measured time, given in milliseconds.
function duration(ms) {
  if (ms < 0.9995) return three(ms * 1000) + " µs";
  if (ms < 999.5) return three(ms) + " ms";
  if (ms < 119950) return three(ms / 1000) + " s";
  return compound(Math.round(ms / 1000) * 1000, 2);
}

const latency = (ms) => (ms > 0 ? duration(ms) : "–");

// compound returns whole milliseconds in units: all of them, or the largest few.
function compound(ms, most = Infinity) {
  const parts = [];
  for (const [unit, size] of [["d", 86400000], ["h", 3600000], ["min", 60000], ["s", 1000], ["ms", 1]]) {
    const n = Math.floor(ms / size);
    ms -= n * size;
    if (n > 0) parts.push(`${count(n)} ${unit}`);
  }
  return parts.slice(0, most).join(" ") || "0 s";
}

const zone = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts().find((part) => part.type === "timeZoneName").value;

// clock returns a time of day, with its date unless that is today's.
function clock(time, seconds = true) {
  const date = new Date(time);
  const text = date.toLocaleTimeString("en-GB", seconds ? undefined : { hour: "2-digit", minute: "2-digit" });
  const today = date.toDateString() === new Date(serverNow()).toDateString();
  return today ? text : date.toLocaleDateString("en-GB", { day: "numeric", month: "short" }) + " " + text;
}

const zoned = (time) => `${clock(time)} ${zone}`;

// The server's clock: its latest time, plus what has passed since that arrived.
let serverTime = Date.now();
let received = performance.now();
const serverNow = () => serverTime + performance.now() - received;

// ago returns the time since then, or until then, in the largest few units.
function ago(time, most = 2) {
  const ms = serverNow() - new Date(time);
  if (ms < 0) return "in " + compound(Math.ceil(-ms / 1000) * 1000, most);
  return ms < 1000 ? "now" : compound(Math.floor(ms / 1000) * 1000, most) + " ago";
}

const find = (id) => document.getElementById(id);

// put sets the text of an element, unless it has that text.
function put(id, text) {
  const element = find(id);
  if (element.textContent !== text) element.textContent = text;
}

function create(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// relative returns an element that shows how long ago a time was; refreshRelative updates it.
function relative(time, most = 2) {
  const element = create("time", { className: "relative", dateTime: time, title: zoned(time), textContent: ago(time, most) });
  element.dataset.most = most;
  return element;
}

function refreshRelative() {
  for (const element of document.querySelectorAll("time.relative")) {
    const text = ago(element.dateTime, Number(element.dataset.most));
    if (element.textContent !== text) element.textContent = text;
  }
}
