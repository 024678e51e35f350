// @ts-check
/** The attempts of a task, as they came one after the other. */

import { ApiError, get, part } from "../api.js";
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

/**
 * Errors that were read before, by the task and its end: what has ended is read once.
 * @type {Map<string, string>}
 */
const faults = new Map();
const FAULTS_MAX = 200;

/**
 * Return what a failed task's last error says, in one line; empty if it left none.
 * @param {{id: string, finished_at: string}} task
 * @param {AbortSignal} signal
 * @returns {Promise<string>}
 */
export async function faultOf({ id, finished_at: end }, signal) {
  const name = `${id} ${end}`;
  const known = faults.get(name);
  if (known !== undefined) return known;
  let fault = "";
  try {
    const { data } = await get(`tasks/${part(id)}`, [], signal);
    const error = data.attempts.findLast((/** @type {any} */ each) => each.error !== null)?.error;
    fault = error ? `${error.type}${error.message ? ": " : ""}${error.message}` : "";
  } catch (error) {
    // Deleted meanwhile, or not for this key: the list says the rest.
    if (!(error instanceof ApiError) || ![403, 404].includes(error.status)) throw error;
  }
  if (faults.size >= FAULTS_MAX) faults.clear();
  faults.set(name, fault);
  return fault;
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
