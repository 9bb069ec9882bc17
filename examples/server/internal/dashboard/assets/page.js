"use strict";

const find = (id) => document.getElementById(id);
const put = (id, text) => {
  const element = find(id);
  if (element.textContent !== text) element.textContent = text;
};
const whole = new Intl.NumberFormat("en");
const count = (n) => whole.format(Math.round(n));
const ms = (n) => (n === 0 ? "–" : n < 10 ? n.toFixed(2) + " ms" : n < 1000 ? n.toFixed(0) + " ms" : (n / 1000).toFixed(1) + " s");
const seconds = (n) => (n < 1 ? (n * 1000).toFixed(n < 0.1 ? 1 : 0) + " ms" : n < 120 ? n.toFixed(n < 10 ? 2 : 0) + " s" : (n / 60).toFixed(1) + " min");
const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

const snapshots = []; // of the last two minutes, two per second
const maxSnapshots = 240;

function show(s) {
  snapshots.push({ rate: s.rate_per_second, p99: s.p99_ms });
  if (snapshots.length > maxSnapshots) snapshots.shift();
  showStatus(s);
  put("rate", count(s.rate_per_second));
  for (const p of ["p50", "p90", "p99"]) put(p, ms(s[p + "_ms"]));
  put("waiting", count(s.waiting));
  put("batch", s.reads_per_second > 0 ? s.queries_per_read.toFixed(1) : "–");
  const failed = Object.entries(s.statuses_per_second).filter(([status]) => status !== "200");
  put("statuses", failed.map(([status, rate]) => `${count(rate)} per second with status ${status}.`).join(" "));
  draw("rate");
  draw("p99");
  put("rate-max", count(max("rate")));
  put("p99-max", ms(max("p99")));
  put("in-flight", count(s.in_flight));
  showServers(s);
  showUpdate(s);
  if (s.latest) put("latest", JSON.stringify(s.latest, null, 2));
  list("problems", s.problems.toReversed(), "None.");
  find("controls").hidden = !s.controls;
}

function showStatus(s) {
  const bad = s.phase !== "" || s.down;
  const text = s.phase !== "" ? `The server is ${s.phase}.` : s.down ? "The database is down: queries are rejected." : "Live.";
  put("status", text);
  find("status").classList.toggle("bad", bad);
}

const max = (key) => Math.max(0, ...snapshots.map((s) => s[key]));

function draw(key) {
  const top = max(key) || 1;
  const line = snapshots.map((s, i) => `${((i + maxSnapshots - snapshots.length) * 600 / (maxSnapshots - 1)).toFixed(1)},${(135 - 130 * s[key] / top).toFixed(1)}`);
  find(key + "-line").setAttribute("points", line.join(" "));
}

function showServers(s) {
  for (const element of document.querySelectorAll(".shared")) element.hidden = !s.servers;
  put("queries", s.servers ? "Queries of this server" : "Queries");
  put("lock-wait", ms(s.lock_wait_p99_ms));
  rows("servers", s.servers ?? [], (server) => {
    const roles = [server.this && "this server", server.updating && "updating"].filter(Boolean);
    return [server.instance, clock(server.started_at), clock(server.seen_at), roles.join(", ")];
  });
}

function showUpdate(s) {
  const updates = s.updates.toReversed();
  const bar = find("progress");
  const other = s.servers?.find((server) => server.updating && !server.this);
  if (s.running_since && other) {
    bar.removeAttribute("value"); // only that server knows how far it is
    put("update-text", `Running on ${other.instance} since ${clock(s.running_since)}.`);
  } else if (s.running_since) {
    const share = s.total > 0 ? s.done / s.total : 0;
    bar.value = share;
    put("update-text", `Running since ${clock(s.running_since)}: ${count(s.done)} of ${count(s.total)} users, ${Math.floor(100 * share)}%.`);
  } else {
    const last = updates.find((u) => u.ended_at !== null || u.failed); // the end of the latest one may be on its way
    bar.value = last && !last.failed ? 1 : 0;
    put("update-text", last ? (last.failed ? "Not running. The latest update failed." : `Not running. The latest update reached ${count(last.users)} users.`) : "No update has run yet.");
  }
  const next = s.paused ? "Ticks are paused." : s.next_tick ? `The next one is at ${clock(s.next_tick)}.` : "None is scheduled.";
  const skipped = s.skipped > 0 ? ` ${count(s.skipped)} of them started no update, because one was running.` : "";
  const breaker = s.breaker === "closed" ? "" : ` Updates keep failing: the circuit breaker is ${s.breaker}.`;
  const all = s.servers ? ", for all servers together" : "";
  put("ticks", `There is a tick every ${seconds(s.interval_seconds)}${all}. ${next}${skipped}${breaker}`);
  rows("history", updates.slice(0, 20), (u) => {
    const ended = u.ended_at !== null;
    const cells = [clock(u.started_at), ended ? seconds((new Date(u.ended_at) - new Date(u.started_at)) / 1000) : "–", ended ? count(u.users) : "–", result(u)];
    return s.servers ? [u.instance ?? "", ...cells] : cells;
  });
}

const result = (u) => (u.failed ? (u.ended_at === null ? "lost" : "failed") : u.ended_at === null ? "running" : "done");
const classes = { failed: "bad", lost: "bad", done: "good" };
const shown = {}; // by the ID of a table's body

function rows(id, items, cells) {
  const texts = items.map(cells);
  const now = JSON.stringify(texts);
  if (now === shown[id]) return;
  shown[id] = now;
  find(id).replaceChildren(...texts.map((row) => {
    const element = document.createElement("tr");
    element.append(...row.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    element.lastChild.className = classes[row.at(-1)] ?? "";
    return element;
  }));
}

function list(id, lines, none) {
  const texts = lines.length > 0 ? lines : [none];
  const element = find(id);
  if (element.textContent === texts.join("")) return;
  element.replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function watch() {
  const events = new EventSource("/dashboard/events");
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => {
    put("status", "No connection to the server. Reconnecting…");
    find("status").classList.add("bad");
    if (events.readyState === EventSource.CLOSED) setTimeout(watch, 1000); // otherwise it reconnects by itself
  };
}

find("token").value = sessionStorage.getItem("token") ?? "";
find("control").addEventListener("submit", async (event) => {
  event.preventDefault();
  const action = event.submitter.value;
  const token = find("token").value;
  const body = action === "interval" ? JSON.stringify({ interval: find("interval").value }) : undefined;
  put("outcome", "…");
  try {
    const response = await fetch("/control/" + action, { method: "POST", headers: { Authorization: "Bearer " + token }, body });
    if (response.ok) sessionStorage.setItem("token", token);
    put("outcome", response.ok ? "Done." : (await response.json()).detail);
  } catch {
    put("outcome", "No connection to the server.");
  }
});

watch();
