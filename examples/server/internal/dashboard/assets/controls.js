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
  for (const element of find("controls").querySelectorAll("button, select, #interval")) element.disabled = old;
  find("disabled-note").hidden = !old;
  put("disabled-note", !old ? "" : frozen ? "Disabled: this page is frozen." : "Disabled: no data comes from the server.");
  if (updateSince === 0) return;
  const update = s.updates.findLast((u) => new Date(u.started_at) >= updateSince && (u.ended_at || u.failed));
  if (!update) return;
  updateSince = 0;
  outcome(update.failed ? "The update has failed: see the warnings and errors." : `The update has succeeded: ${count(update.users)} users in ${duration(new Date(update.ended_at) - new Date(update.started_at))}.`, update.failed);
}

function outcome(text, bad = false) {
  find("outcome").classList.toggle("bad", bad);
  put("outcome", text);
}

// control sends a request and reports the result.
async function control(action, body, done) {
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
  if (await control(action, undefined, done) && action === "update") updateSince = asked;
});
find("interval-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const ms = Math.round(find("interval").value * find("unit").value);
  const old = present ? `from ${compound(present.interval_seconds * 1000)} ` : "";
  const all = present?.servers ? ", on all servers" : "";
  if (await control("interval", JSON.stringify({ interval: ms + "ms" }), `The interval has changed ${old}to ${compound(ms)}${all}.`)) event.target.reset();
});
