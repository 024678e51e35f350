// @ts-check
/** The attempts of a task, as they came one after the other. */

import { el } from "../dom.js";
import { span, time } from "../time.js";
import { pill } from "../widgets.js";

/** @type {Record<string, import("../widgets.js").Tone>} */
const TONES = { complete: "good", fail: "bad", retry: "bad", rescue: "bad", cancel: "warn" };

/** @type {Record<string, string>} */
const WORDS = {
  complete: "completed", fail: "failed for good", retry: "failed, tried again",
  snooze: "put off by its handler", release: "given back unused", rescue: "its worker was gone",
  cancel: "cancelled",
};

/** @param {any[]} attempts the oldest first */
export function attemptsOf(attempts) {
  if (attempts.length === 0) return el("p", { class: "empty" }, "None yet.");
  return el("ol", { class: "timeline" }, attempts.map(attemptOf));
}

/** @param {any} attempt */
function attemptOf({ number, outcome, started_at: started, finished_at: finished, worker_id: worker, error }) {
  const took = started && finished ? (Date.parse(finished) - Date.parse(started)) / 1000 : null;
  return el(
    "li", {},
    el("p", { class: "line" },
      el("strong", {}, `Attempt ${number}`), " ",
      outcome === null ? pill("running", "busy") : pill(WORDS[outcome] ?? outcome, TONES[outcome] ?? "idle"),
      " ", started ? time(started, { exact: true }) : null,
      took === null ? null : el("span", { class: "hint" }, ` took ${short(took)}`),
      worker === null ? null : el("span", { class: "hint" }, ` by worker ${worker}`)),
    error ? errorOf(error, number) : null,
  );
}

/** @param {number} seconds */
function short(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : span(seconds);
}

/**
 * @param {{type: string, message: string, traceback: string | null}} error
 * @param {number} number
 */
function errorOf({ type, message, traceback }, number) {
  return el(
    "div", { class: "fault" },
    el("p", {}, el("strong", {}, type), message ? ": " : "", message),
    traceback === null ? null : el("details", { "data-key": `traceback ${number}` },
      el("summary", {}, "Traceback"), el("pre", { tabindex: 0 }, traceback)),
  );
}
