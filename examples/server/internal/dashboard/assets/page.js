"use strict";
// Shows the server's snapshots, and reports when they stop.

const staleAfter = 5000; // ms without a snapshot
const words = { ok: "OK", degraded: "Degraded", down: "Down", starting: "Starting", stopping: "Stopping", stale: "Stale", frozen: "Frozen", connecting: "Connecting", offline: "No connection" };
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

let last = null; // the latest snapshot
let lost = ""; // why no snapshots come; "" while they do
let frozen = false;
let level = "connecting"; // the one that is shown
let old = false; // whether what is shown is of the past

// then says when a statement was true if that is not now.
const then = (text, time = old && last.time) => (time ? `At ${zoned(time)}: ${text[0].toLowerCase()}${text.slice(1)}` : text);

// showLevel shows the level of the server, or that it is unknown.
function showLevel() {
  const silent = performance.now() - received;
  let reasons = last?.reasons ?? ["Waiting for the first data."];
  let now = last?.level ?? "connecting";
  let since = last ? `for ${compound(Math.max(1000, Math.floor((serverNow() - new Date(last.since)) / 1000) * 1000), 2)}, since ${zoned(last.since)}` : "";
  if (frozen) {
    now = "frozen";
    reasons = [`This page shows ${zoned(last.time)}, when the server was ${words[last.level]}. “Go on” shows the present.`];
    since = "";
  } else if (!last && lost) {
    now = "offline";
    reasons = [lost];
  } else if (last && (lost || silent > staleAfter)) {
    now = "stale";
    reasons = [
      `No data from the server for ${compound(Math.max(1000, Math.floor(silent / 1000) * 1000), 2)}. ${lost || "The connection is open, but nothing arrives."}`,
      `Everything below is of ${zoned(last.time)}, when the server was ${words[last.level]}.`,
    ];
    since = `since ${zoned(last.time)}`;
  }
  if (now !== level) {
    level = now;
    find("state").className = now;
    put("announcement", `${words[now]}. ${reasons.join(" ")}`);
    document.title = `${words[now]} – ${last ? last.server.instance + " – " : ""}PointsApp`;
    setOld(now === "stale" || now === "frozen");
  }
  put("level", words[now]);
  put("since", since);
  list("reasons", reasons, (text) => create("li", { textContent: text }));
}

// setOld makes everything below the state look and read as old, or as current.
function setOld(now) {
  if (now === old) return;
  old = now;
  document.querySelector("main").classList.toggle("old", old);
  for (const title of document.querySelectorAll("main > :not(#state) h2")) date(title, old && last.time);
  showTensed(last);
}

// date makes a title say of when its section is, if it is not of now.
function date(title, time) {
  if (time) title.dataset.old = `as of ${zoned(time)}`;
  else delete title.dataset.old;
}

// showTensed shows what reads differently when it is old.
function showTensed(s) {
  showServers(s);
  showUpdate(s);
  showTicks(s);
  showControls(s);
  showProblems(s);
  showLatest(s.latest);
}

function show(s) {
  serverTime = Date.parse(s.time);
  received = performance.now();
  last = s;
  lost = "";
  p99Limit = s.limits.p99_ms;
  put("latency-limit", `limit ${duration(p99Limit)}`);
  addUpdates(s.updates);
  addSample(s.sample);
  showLevel();
  showFacts(s);
  showFigures(s);
  showTensed(s);
  tick();
}

function showFacts(s) {
  put("instance", s.server.instance);
  put("version", s.server.version);
  put("store", s.server.store);
  put("connections", `${count(s.connections)} of ${count(s.server.max_connections)}`);
  find("pool-fact").hidden = s.pool_max === 0;
  put("pool", `${count(s.pool_in_use)} of ${count(s.pool_max)}`);
  for (const element of document.querySelectorAll(".shared")) element.hidden = !s.servers;
  for (const element of document.querySelectorAll(".batches")) element.hidden = s.pool_max === 0; // in memory each query is a read
  put("queries", s.servers ? "Queries of this server" : "Queries");
}

function showFigures(s) {
  const failed = Object.entries(s.statuses_per_second).filter(([status]) => status !== "200");
  const errors = failed.filter(([status]) => status.startsWith("5")).reduce((sum, [, rate]) => sum + rate, 0);
  const share = s.rate_per_second > 0 ? errors / s.rate_per_second : 0;
  const mark = (id, text, bad, warning) => {
    put(id + "-limit", text);
    for (const element of [find(id), find(id + "-limit")]) {
      element.classList.toggle("bad", bad);
      element.classList.toggle("warning", warning);
    }
  };
  // The figures are of 10 seconds, and count once the last minute is beyond the limit, too.
  const limit = (id, text, now, minute, max, write) => {
    const bad = minute > max;
    const warning = !bad && now > max;
    mark(id, bad ? `✗ limit ${text}, exceeded: ${write(minute)} over the last minute` : warning ? `▲ above the limit of ${text}, but not over the last minute: ${write(minute)}` : `limit ${text} over a minute`, bad, warning);
  };
  const percent = (share) => `${+(100 * share).toPrecision(2)}%`;
  put("rate", perSecond(s.rate_per_second));
  put("errors", s.rate_per_second > 0 ? percent(share) : "–");
  limit("errors", percent(s.limits.error_share), share, s.minute.error_share, s.limits.error_share, percent);
  for (const p of ["p50", "p90", "p99"]) put(p, latency(s[p + "_ms"]));
  limit("p99", duration(s.limits.p99_ms), s.p99_ms, s.minute.p99_ms, s.limits.p99_ms, latency);
  put("waiting", count(s.waiting));
  const full = s.waiting >= s.server.max_waiting;
  mark("waiting", `queries in the queue, at most ${count(s.server.max_waiting)}${full ? ": full" : ""}`, full, false);
  put("batch", s.reads_per_second > 0 ? three(s.queries_per_read) : "–");
  put("reads", perSecond(s.reads_per_second));
  put("lock-wait", latency(s.lock_wait_p99_ms));
  put("statuses", failed.map(([status, rate]) => `${perSecond(rate)} per second with status ${status}.`).join(" "));
}

// sharedTime returns when the shared state was as it is shown: undefined if that is now.
const sharedTime = (s) => (s.unsynced ? s.synced_at : old ? s.time : undefined);

function showServers(s) {
  const time = sharedTime(s);
  find("servers").closest("section").classList.toggle("old", s.unsynced);
  date(find("servers-title"), time);
  put("servers-caption", `${time ? `Servers that were active at ${zoned(time)}` : "Active servers"}, and those gone for less than 5 minutes, by the database's clock${s.unsynced ? ". The database has not answered since" : ""}`);
  rows("servers", s.servers ?? [], (server) => {
    const roles = [server.gone && "✗ gone", server.this && "this server", server.updating && "updating"].filter(Boolean);
    return [server.instance, clock(server.started_at), { time: server.seen_at }, roles.join(", ") || "–"];
  });
}

function showUpdate(s) {
  const updates = s.updates.toReversed();
  const bar = find("progress");
  const other = s.servers?.find((server) => server.updating && !server.this);
  bar.hidden = !s.running_since || (sharedTime(s) && other); // without a value it would move
  if (s.running_since && other) {
    bar.removeAttribute("value"); // only that server knows how far it is
    put("update-text", then(`Running on ${other.instance} since ${zoned(s.running_since)}.`, sharedTime(s)));
  } else if (s.running_since) {
    bar.value = s.total > 0 ? s.done / s.total : 0;
    const latest = s.progressed_at ? `Latest progress at ${zoned(s.progressed_at)} (${ago(s.progressed_at)}).` : "No progress yet.";
    put("update-text", then(`Running since ${zoned(s.running_since)}: ${count(s.done)} of ${count(s.total)} users, ${Math.floor(100 * bar.value)}%. ${latest}`));
  } else {
    const u = updates.find((u) => u.ended_at !== null || u.failed); // the end of the latest one may be on its way
    const latest = !u ? "There has been no update yet." : u.failed ? `The latest one, of ${zoned(u.started_at)}, failed.` : `The latest one succeeded: ${count(u.users)} users in ${took(u)}, at ${zoned(u.started_at)}.`;
    put("update-text", then(`Not running${s.unsynced ? " here" : ""}. ${latest}`));
  }
  put("history-title", `The latest 10 updates${s.unsynced ? `, as of ${zoned(s.synced_at)}` : ""}`);
  const unended = updates.find((u) => !u.ended_at && !u.failed);
  rows("history", updates.slice(0, 10), (u) => {
    const here = u === unended && s.running_since && !other;
    const time = here ? old && s.time : sharedTime(s);
    const elapsed = (time ? Date.parse(time) : serverNow()) - new Date(u.started_at);
    const cells = [
      clock(u.started_at), { time: u.started_at }, u.cause || "–",
      u.ended_at ? took(u) : u.failed ? "–" : `${compound(Math.max(0, Math.floor(elapsed / 1000) * 1000), 2)} so far`,
      u.ended_at ? count(u.users) : here ? `${count(s.done)} so far` : "–", result(u)];
    return s.servers ? [u.instance ?? "", ...cells] : cells;
  });
}

// showTicks has a countdown, so it is shown more often than snapshots come.
function showTicks(s) {
  const all = s.servers ? ", for all servers together" : "";
  let next = "None is scheduled.";
  if (s.paused) next = "Ticks are paused: no new min number and no updates.";
  else if (s.unsynced) next = "This server does not tick until the database answers.";
  else if (s.next_tick && old) next = `The next one was planned for ${zoned(s.next_tick)}.`;
  else if (s.next_tick) next = `${Date.parse(s.next_tick) > serverNow() ? "The next one is" : "One was due"} ${ago(s.next_tick)} (${zoned(s.next_tick)}).`;
  const skipped = s.skipped > 0 ? ` ${count(s.skipped)} started no update, because one was running.` : "";
  put("ticks", then(`A tick every ${compound(s.interval_seconds * 1000)}${all}. ${next}${skipped}`));
}

const took = (u) => duration(new Date(u.ended_at) - new Date(u.started_at));
const result = (u) => (u.failed ? (u.ended_at ? "✗ failed" : "✗ lost") : u.ended_at ? "✓ done" : "… running");
const resultClasses = { "✗": "bad", "✓": "good" };
const shown = {}; // JSON by the ID of the element that shows it

// rows fills the body of a table. On a phone each cell has its column's name. A cell is a text or {time}, which is shown as how long ago that was.
function rows(id, items, cells) {
  const labels = [...find(id).parentElement.querySelectorAll("th:not([hidden])")].map((th) => th.firstChild.textContent.trim());
  list(id, items.map(cells), (row) => {
    const element = create("tr", { role: "row" }, ...row.map((cell, i) => {
      const td = create("td", { role: "cell" }, cell.time ? relative(cell.time, 1) : cell);
      td.dataset.label = labels[i];
      td.classList.toggle("wrap", String(cell).endsWith(" so far"));
      return td;
    }));
    element.lastChild.className = resultClasses[element.lastChild.textContent[0]] ?? "";
    return element;
  });
}

// list replaces the children of an element if they have changed.
function list(id, items, make) {
  const now = JSON.stringify(items);
  if (now === shown[id]) return;
  shown[id] = now;
  find(id).replaceChildren(...items.map(make));
}

function showProblems(s) {
  list("problems", s.problems.length > 0 ? s.problems : [then("None since the start.")], (p) => {
    if (typeof p === "string") return create("li", { textContent: p });
    const times = p.count > 1 ? [`${count(p.count)} times, first at ${zoned(p.first)}, latest `] : [];
    return create("li", {},
      create("b", { className: p.level === "ERROR" ? "bad" : "warning", textContent: p.level === "ERROR" ? "✗ Error" : "▲ Warning" }),
      ` ${p.message} `,
      create("span", { className: "note" }, ...times, relative(p.last), ` (${zoned(p.last)})`),
      ...(p.detail ? [create("code", { textContent: p.detail })] : []));
  });
}

function showLatest(r) {
  const times = r.body ? [`Of ${zoned(r.time)} (`, relative(r.time), "). "] : [];
  const failures = r.failures === 0 ? [] : [
    create("b", { className: "bad", textContent: `✗ ${r.failures === 1 ? "1 query has" : count(r.failures) + " queries have"} failed since` }),
    `, the latest with status ${r.failed_status} at ${zoned(r.failed_at)} (`, relative(r.failed_at), ")."];
  find("latest-note").replaceChildren(...times, ...failures);
  put("latest", r.body ? JSON.stringify(r.body, null, 2) : then("No successful response since this page was opened."));
}

let charted = -Infinity; // when the charts were last drawn
let described = -Infinity;

// tick shows what changes with time alone.
function tick() {
  showLevel();
  if (!last || frozen) return;
  put("as-of", `${zoned(last.time)} (${ago(last.time)})`);
  put("uptime", compound(Math.max(1000, Math.floor((Date.parse(last.time) - new Date(last.server.started_at)) / 1000) * 1000), 2));
  showUpdate(last);
  showTicks(last);
  refreshRelative();
  const now = performance.now();
  if (now - charted >= (reducedMotion.matches ? 10000 : 900)) {
    charted = now;
    drawCharts();
  }
  if (now - described >= 10000) {
    described = now;
    describeCharts();
    if (find("table-details").open) rows("minutes", minutes(), (row) => row);
  }
}

let events = null;

function watch() {
  events = new EventSource("dashboard/events");
  events.addEventListener("history", (event) => { setHistory(JSON.parse(event.data)); charted = described = -Infinity; });
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = async () => {
    lost = "There is no connection to the server. Trying again.";
    showLevel();
    if (events.readyState !== EventSource.CLOSED) return; // it reconnects by itself
    lost = await reason();
    showLevel();
    setTimeout(() => { if (!frozen) watch(); }, 2000);
  };
}

// reason returns why the server does not serve events: the detail of its response if there is one.
async function reason() {
  const abort = new AbortController();
  try {
    const response = await fetch("dashboard/events", { signal: abort.signal });
    if (!response.ok) return (await response.json()).detail + " Trying again.";
  } catch { /* no server, or a response without detail */ } finally {
    abort.abort();
  }
  return "There is no connection to the server. Trying again.";
}

find("freeze").addEventListener("click", (event) => {
  if (!last) return;
  frozen = !frozen;
  event.target.ariaPressed = frozen;
  event.target.textContent = frozen ? "Go on" : "Freeze this page";
  if (frozen) events.close();
  else watch();
  showLevel();
});
find("table-details").addEventListener("toggle", () => rows("minutes", minutes(), (row) => row));
const timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone;
put("zone", `Times are in ${zone}${timeZone === zone ? "" : ` (${timeZone})`}.`);
for (const element of document.querySelectorAll(".zone")) element.textContent = `(${zone})`;
setInterval(tick, 1000);
watch();
