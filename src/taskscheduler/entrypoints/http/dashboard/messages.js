// @ts-check
/** What is told at the edge of the page: what was done, what was refused, and what is away. */

import { button, el, known } from "./dom.js";
import { refusal } from "./widgets.js";

const SHOWN_MS = 6_000;

/**
 * Tell something. It is read out by screen readers, and goes by itself unless it is an error.
 * @param {string} text
 * @param {"done" | "error"} [sort]
 */
export function say(text, sort = "done") {
  const made = el("div", { class: `message ${sort}` }, el("span", {}, text),
    button("×", () => made.remove(), { class: "quiet", "aria-label": "Close this message" }));
  known("messages").append(made);
  if (sort === "done") setTimeout(() => made.remove(), SHOWN_MS);
}

/** @param {unknown} error */
export function complain(error) {
  say(refusal(error), "error");
}

/** Take away the errors of a view that is left. */
export function forget() {
  for (const each of known("messages").querySelectorAll(".error")) each.remove();
}

/**
 * Do something, and tell how it went.
 * @template Result
 * @param {() => Promise<Result>} action
 * @param {string} done
 * @returns {Promise<Result | null>} null if it was refused
 */
export async function tried(action, done) {
  try {
    const result = await action();
    say(done);
    return result;
  } catch (error) {
    complain(error);
    return null;
  }
}

/** @param {string | null} text what is away; null when it is back */
export function banner(text) {
  const shown = known("banner");
  if (text !== null && shown.textContent !== text) shown.textContent = text;
  shown.hidden = text === null;
}
