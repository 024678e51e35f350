// @ts-check
/** What several views show in the same way. */

import { ApiError } from "./api.js";
import { button, el, fill } from "./dom.js";
import { to } from "./router.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {import("./dom.js").Children} Children */

/** @typedef {{count: number, exact: boolean}} Count */

/**
 * @template Row
 * @typedef {object} Column
 * @property {string} head
 * @property {(row: Row) => Children} cell
 * @property {boolean} [number] aligned to the right
 * @property {boolean} [bare] the head is for screen readers alone, as over buttons
 */

/** @typedef {"good" | "bad" | "busy" | "idle" | "warn"} Tone */

/** @type {Record<string, Tone>} */
const TONES = {
  Pending: "idle", InProgress: "busy", Completed: "good", Failed: "bad", Cancelled: "warn",
};
export const STATUSES = Object.keys(TONES);

/**
 * @param {string} text
 * @param {Tone} tone
 * @param {string} [title]
 */
export function pill(text, tone, title = undefined) {
  return el("span", { class: `pill ${tone}`, title }, text);
}

/** @param {string} status */
export function statusPill(status) {
  return pill(status === "InProgress" ? "In progress" : status, TONES[status] ?? "idle");
}

/**
 * @param {Count} count
 * @returns {string} with a plus where there are at least so many
 */
export function number({ count, exact }) {
  return `${count.toLocaleString("en")}${exact ? "" : "+"}`;
}

/**
 * Add up; what has a part that is not exact is not exact.
 * @param {Count[]} counts
 * @returns {Count}
 */
export function sum(counts) {
  return {
    count: counts.reduce((total, each) => total + each.count, 0),
    exact: counts.every((each) => each.exact),
  };
}

/**
 * @param {string} id
 * @returns {HTMLElement} a link to the task; the end of its id tells tasks apart, the rest is time
 */
export function taskLink(id) {
  return el(
    "a", { class: "id", href: to(["tasks", id]), title: id, "data-key": `task ${id}` },
    `…${id.slice(-12)}`,
  );
}

/**
 * @param {Record<string, string>} filters
 * @param {string} text
 */
export function tasksLink(filters, text) {
  const fragment = to(["tasks"], filters);
  return el("a", { href: fragment, "data-key": fragment + text }, text);
}

/**
 * @template Row
 * @param {string} caption what it is, for those who do not see where it stands
 * @param {Column<Row>[]} columns
 * @param {Row[]} rows
 * @param {string} empty what is said when there are none
 * @returns {HTMLElement}
 */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return el("p", { class: "empty" }, empty);
  const heads = columns.map(({ head, number, bare }) =>
    el("th", { scope: "col", class: number && "number" },
      bare ? el("span", { class: "unseen" }, head) : head));
  const lines = rows.map((row) => el("tr", {}, columns.map(({ head, cell, number, bare }) => {
    // Narrow pages show a row as a card, and the head beside each value.
    const inside = el("div", {}, cell(row));
    return el("td", { class: number && "number", "data-head": bare ? "" : head }, inside);
  })));
  return el(
    "table", {},
    el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, heads)),
    el("tbody", {}, lines),
  );
}

/**
 * @param {string} title
 * @param {Children} [beside] what stands to the right of the title
 * @returns {{root: HTMLElement, body: HTMLElement}}
 */
export function panel(title, beside = null) {
  const body = el("div", { class: "body" }, el("p", { class: "empty loading" }, "Loading …"));
  const root = el("section", { class: "panel" },
    el("div", { class: "title" }, el("h2", {}, title), beside), body);
  return { root, body };
}

const REFUSED_MS = 30_000;
/** @type {WeakMap<HTMLElement, number>} */
const refused = new WeakMap();

/**
 * Load what one part of a view shows. What is refused is said there, and the rest goes on; what
 * will pass is for the whole page to wait for. A part that was refused is not asked for each time.
 * @param {HTMLElement} body
 * @param {() => Promise<void>} load
 */
export async function within(body, load) {
  if (Date.now() - (refused.get(body) ?? -Infinity) < REFUSED_MS) return;
  try {
    await load();
  } catch (error) {
    if (!(error instanceof ApiError) || error.passes || error.status === 401) throw error;
    refused.set(body, Date.now());
    fill(body, el("p", { class: "empty" }, refusal(error)));
  }
}

/**
 * @param {unknown} error
 * @returns {string} what to tell of it
 */
export function refusal(error) {
  if (!(error instanceof ApiError)) return `This page has a fault: ${String(error)}`;
  if (error.status === 403) return `Not allowed: ${error.message}`;
  return error.message;
}

/**
 * @param {string | null} next
 * @param {string[]} path
 * @param {Record<string, string | null>} query
 * @param {boolean} first whether this is the first page
 */
export function pager(next, path, query, first) {
  if (next === null && first) return null;
  return el("nav", { class: "pager", "aria-label": "Pages" },
    first ? null : el("a", { class: "button", href: to(path, query) }, "First page"),
    next === null
      ? el("span", { class: "empty" }, "This is the last page.")
      : el("a", { class: "button", href: to(path, { ...query, cursor: next }), "data-key": "next" },
        "Next page"));
}

/**
 * Make a button that cannot be pressed again while what it does is under way.
 * @param {string} text
 * @param {() => Promise<unknown>} action
 * @param {Record<string, unknown>} [properties]
 */
export function doing(text, action, properties = {}) {
  const made = button(text, async () => {
    if (made.getAttribute("aria-busy") === "true") return;
    made.setAttribute("aria-busy", "true");
    try {
      await action();
    } finally {
      made.removeAttribute("aria-busy");
    }
  }, properties);
  return made;
}
