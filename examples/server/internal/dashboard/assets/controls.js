"use strict";
// The controls. They show the current values, and report each change.

let present = null; // the latest snapshot
let updateSince = 0; // when "Update now" was accepted, until its update has ended

function showControls(s) {
  present = s;
  find("controls").hidden = !s.server.controls;
  const at = old ? `, at ${zoned(s.time)}` : "";
  put("ticks-value", (s.paused ? "paused" : s.unsynced ? "none here, the database does not answer" : "running") + at);
  put("toggle", s.paused ? "Resume ticks" : "Pause ticks");
  find("toggle").value = s.paused ? "resume" : "pause";
  put("update-value", (s.running_since ? "running" : s.unsynced ? "not running here" : "not running") + at);
  put("interval-value", compound(s.interval_seconds * 1000) + at);
  // A change of the schedule fails, and an update is rejected; if an update may succeed, its button stays enabled.
  const noSchedule = s.unsynced ? "✗ The schedule cannot be changed: the database, which has it, does not answer." : "";
  const noUpdate = s.running_since ? "One is running."
    : s.phase ? `✗ The server is ${s.phase}.`
    : s.breaker === "open" ? "✗ Rejected: the circuit breaker is open." : "";
  control("toggle", "toggle-note", noSchedule);
  control("update-now", "update-note", noUpdate, s.down ? "▲ An update fails unless the database answers soon." : "");
  control("change", "interval-note", noSchedule, shortInterval(s));
  for (const id of ["interval", "unit"]) find(id).disabled = find("change").disabled;
  find("disabled-note").hidden = !old;
  put("disabled-note", !old ? "" : frozen ? "Disabled: this page is frozen." : "Disabled: no data comes from the server.");
  if (updateSince === 0) return;
  const update = s.updates.findLast((u) => new Date(u.started_at) >= updateSince && (u.ended_at || u.failed));
  if (!update) return;
  updateSince = 0;
  outcome(update.failed ? "The update has failed: see the warnings and errors." : `The update has succeeded: ${count(update.users)} users in ${duration(new Date(update.ended_at) - new Date(update.started_at))}.`, update.failed);
}

// control disables a button that has no effect now, and says why, or else what to know before it is used.
function control(button, note, obstacle, warning = "") {
  find(button).disabled = old || obstacle !== "";
  put(note, old ? "" : obstacle || warning);
}

// shortInterval warns of an interval in which an update does not end.
function shortInterval(s) {
  const latest = s.updates.findLast((u) => u.ended_at && !u.failed);
  const ms = latest ? new Date(latest.ended_at) - new Date(latest.started_at) : 0;
  return s.interval_seconds * 1000 < ms ? `▲ Shorter than the latest update took (${duration(ms)}): ticks are skipped.` : "";
}

function outcome(text, bad = false) {
  find("outcome").classList.toggle("bad", bad);
  put("outcome", text);
}

// send sends a request and reports the result.
async function send(action, body, done) {
  const token = find("token");
  if (!token.reportValidity()) return;
  outcome("…");
  try {
    const response = await fetch("control/" + action, { method: "POST", headers: { Authorization: "Bearer " + token.value }, body });
    if (response.ok) {
      sessionStorage.setItem("token", token.value);
      outcome(`${done} (${zoned(serverNow())})`);
    } else {
      outcome("Nothing has changed. " + ((await response.json()).detail ?? `Status ${response.status}.`), true);
    }
    return response.ok;
  } catch {
    outcome("No connection to the server: the change may have been made or not.", true);
  }
}

find("token").value = sessionStorage.getItem("token") ?? "";
find("control").addEventListener("submit", async (event) => {
  event.preventDefault();
  const action = event.submitter.value;
  const all = present?.servers ? ", on all servers" : "";
  const done = { pause: `Ticks are paused${all}.`, resume: `Ticks run again${all}.`, update: "An update has been started." }[action];
  const asked = serverNow() - 1000; // clocks may differ a little
  if (await send(action, undefined, done) && action === "update") updateSince = asked;
});
find("interval-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const ms = Math.round(find("interval").value * find("unit").value);
  const old = present ? `from ${compound(present.interval_seconds * 1000)} ` : "";
  const all = present?.servers ? ", on all servers" : "";
  if (await send("interval", JSON.stringify({ interval: ms + "ms" }), `The interval has changed ${old}to ${compound(ms)}${all}.`)) event.target.reset();
});
