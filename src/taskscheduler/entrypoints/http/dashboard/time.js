// @ts-check
/** Times: how long ago or until, the exact UTC behind it, and a switch between UTC and local. */

import { el } from "./dom.js";

const CLOCK = "taskscheduler.clock";
const UNITS = /** @type {[string, number][]} */ ([
  ["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1],
]);

let local = localStorage.getItem(CLOCK) === "local";

/** Whether exact times are shown as the clock on this machine's wall has them. */
export function isLocal() {
  return local;
}

/** Show exact times the other way. */
export function switchClock() {
  local = !local;
  localStorage.setItem(CLOCK, local ? "local" : "UTC");
  tick();
}

/**
 * @param {number} seconds
 * @returns {string} such as "3 h 5 min"
 */
export function span(seconds) {
  const whole = Math.round(Math.abs(seconds));
  if (whole < 1) return "0 s";
  const first = UNITS.findIndex(([, size]) => whole >= size);
  const [unit, size] = UNITS[first];
  const count = Math.floor(whole / size);
  const next = UNITS[first + 1];
  const rest = next && count < 10 ? Math.floor((whole % size) / next[1]) : 0;
  return rest ? `${count} ${unit} ${rest} ${next[0]}` : `${count} ${unit}`;
}

/** @param {string} at */
function relative(at) {
  const seconds = (Date.parse(at) - Date.now()) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  // Of what is minutes away no seconds: a page full of them would never be at rest.
  const away = Math.abs(seconds) < 60 ? seconds : Math.trunc(seconds / 60) * 60;
  return seconds > 0 ? `in ${span(away)}` : `${span(away)} ago`;
}

/**
 * @param {string} at
 * @returns {string} such as "2026-11-28 16:05:59"
 */
function clock(at) {
  const moment = new Date(at);
  const shifted = local ? new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000) : moment;
  return `${shifted.toISOString().slice(0, 19).replace("T", " ")}${local ? "" : " UTC"}`;
}

/**
 * Show a time; `exact` ones on the clock, too. They are kept up to date by `tick`.
 * @param {string | null | undefined} at as the API sends it
 * @param {{exact?: boolean}} [options]
 * @returns {Node}
 */
export function time(at, { exact = false } = {}) {
  if (!at) return el("span", { class: "nothing" }, "–");
  const shown = el("time", { datetime: at, "data-exact": exact });
  write(shown);
  return shown;
}

/** @param {HTMLElement} shown */
function write(shown) {
  const at = shown.getAttribute("datetime") ?? "";
  const exactly = `${at.replace("T", " ").replace("Z", "")} UTC`;
  const text = "exact" in shown.dataset ? `${clock(at)} (${relative(at)})` : relative(at);
  if (shown.textContent !== text) shown.textContent = text;
  shown.title = local ? `${exactly}\n${clock(at)} here` : exactly;
}

/** Bring every time on the page up to date. */
export function tick() {
  for (const each of document.querySelectorAll("time[datetime]")) {
    write(/** @type {HTMLElement} */ (each));
  }
}

/** @returns {string} what a field for a time must say of its clock */
export function zone() {
  return local ? "local time" : "UTC";
}

/**
 * Return a time as a field of type `datetime-local` has it.
 * @param {string | null | undefined} at
 */
export function toField(at) {
  return at ? clock(at).slice(0, 19).replace(" ", "T") : "";
}

/**
 * @param {string} value of a field of type `datetime-local`
 * @param {boolean} wasLocal which clock the field said that it goes by
 * @returns {string} as the API takes it
 */
export function fromField(value, wasLocal) {
  return new Date(wasLocal ? value : `${value}Z`).toISOString();
}
