// @ts-check
/** Changing many tasks: those that are selected one by one, all that match a page at a time. */

import { ApiError, call, get, part, post } from "../api.js";
import { confirmed, dialog } from "../dialogs.js";
import { el } from "../dom.js";
import { complain, say } from "../messages.js";
import { refusal } from "../widgets.js";

const TRIES = 8;
/** How many are looked at to say how many there are. */
const LOOK = 200;
const AGAIN_MS = 2_000;

/**
 * @typedef {object} Verb
 * @property {string} name
 * @property {string} done
 * @property {string} what which tasks it changes
 * @property {string[]} statuses of the tasks that it changes
 * @property {boolean} danger
 * @property {string} [force]
 * @property {(id: string, force: boolean) => Promise<unknown>} one
 */

/** @type {Verb[]} */
export const VERBS = [
  {
    name: "Cancel", done: "cancelled", what: "that are pending or in progress", danger: false,
    statuses: ["Pending", "InProgress"],
    one: (id) => post(`tasks/${part(id)}/cancel`),
  },
  {
    name: "Retry", done: "put back", what: "that have failed or were cancelled", danger: false,
    statuses: ["Failed", "Cancelled"],
    one: (id) => post(`tasks/${part(id)}/retry`),
  },
  {
    name: "Delete", done: "deleted", what: "that are not in progress", danger: true,
    statuses: ["Pending", "InProgress", "Completed", "Failed", "Cancelled"],
    force: "Those in progress, too: they are cancelled first",
    one: (id, force) =>
      call("DELETE", `tasks/${part(id)}`, { query: force ? [["force", "true"]] : [] }),
  },
];

/**
 * Change tasks one by one, which every key may do that may change them at all.
 * @param {Verb} verb
 * @param {string[]} ids
 * @returns {Promise<string[] | null>} those that were refused; null if nothing was tried
 */
export async function changeSelected(verb, ids) {
  const what = ids.length === 1 ? "the selected task" : `the ${ids.length} selected tasks`;
  const sure = await confirmed(`${verb.name} ${what}?`, "What each is at that moment decides.",
    { action: verb.name, danger: verb.danger, option: verb.force });
  if (sure === null) return null;
  /** @type {string[]} */
  const left = [];
  let first = "";
  await watched(verb, async (tell, stopped) => {
    for (const [index, id] of ids.entries()) {
      if (stopped()) {
        left.push(...ids.slice(index));
        break;
      }
      tell(`${index} of ${ids.length}`);
      try {
        await insistent(() => verb.one(id, sure.ticked));
      } catch (error) {
        first ||= refusal(error);
        left.push(id);
        if (error instanceof ApiError && [401, 403].includes(error.status)) {
          left.push(...ids.slice(index + 1));
          break;
        }
      }
    }
  });
  const done = ids.length - left.length;
  if (done > 0) say(`${tasks(done)} ${verb.done}.`);
  if (left.length > 0) say(`${tasks(left.length)} left as they were. ${first}`, "error");
  return left;
}

/**
 * Change all tasks that match.
 * @param {Verb} verb
 * @param {string[]} filters
 * @returns {Promise<boolean>} whether it was tried
 */
export async function changeMatching(verb, filters) {
  const found = await counted(verb, filters);
  if (found === null) return false;
  const scope = filters.length ? `all tasks with ${filters.join(" and ")}` : "all tasks";
  const sure = await confirmed(
    `${verb.name} ${scope}?`,
    `This goes for those ${verb.what}, on every page: ${found} at this moment.`,
    {
      action: `${verb.name} all`, danger: verb.danger, option: verb.force,
      word: filters.length ? undefined : "all tasks",
    },
  );
  if (sure === null) return false;
  const asked = /** @type {[string, string][]} */ (
    filters.length ? filters.map((each) => ["filter", each]) : [["all", "true"]]);
  if (sure.ticked) asked.push(["force", "true"]);
  let looked = 0, changed = 0;
  /** @type {string | null} */
  let cursor = null;
  let finished = false;
  await watched(verb, async (tell, stopped) => {
    try {
      do {
        const query = /** @type {[string, string][]} */ (
          cursor === null ? asked : [...asked, ["cursor", cursor]]);
        // A call that was lost may be repeated with the same cursor.
        const { data } = await insistent(() => post(`tasks/${verb.name.toLowerCase()}`, query));
        looked += data.looked_at;
        changed += data.changed;
        cursor = data.cursor;
        tell(`${changed.toLocaleString("en")} of ${looked.toLocaleString("en")} looked at`);
      } while (cursor !== null && !stopped());
      finished = cursor === null;
    } catch (error) {
      complain(error);
    }
  });
  if (finished || changed > 0) {
    say(`${tasks(changed)} ${verb.done}.${finished ? "" : " It was not finished."}`);
  }
  return true;
}

/**
 * Say how many tasks `verb` would change, as far as one look tells; null if it was refused.
 * @param {Verb} verb
 * @param {string[]} filters
 * @returns {Promise<string | null>}
 */
async function counted(verb, filters) {
  try {
    const { data, next } = await get("tasks", [
      ...filters.map((each) => /** @type {[string, string]} */ (["filter", each])),
      ["limit", String(LOOK)],
    ]);
    const count = data.filter((/** @type {any} */ { status }) =>
      verb.statuses.includes(status) && (verb.force === undefined || status !== "InProgress")).length;
    return next === null ? tasks(count) : `at least ${tasks(count)}, for there are more than ${LOOK} to look at`;
  } catch (error) {
    complain(error);
    return null;
  }
}

/** @param {number} count */
function tasks(count) {
  return count === 1 ? "1 task" : `${count.toLocaleString("en")} tasks`;
}

/**
 * Show how far `work` is, and let it be stopped.
 * @param {Verb} verb
 * @param {(tell: (text: string) => void, stopped: () => boolean) => Promise<void>} work
 */
async function watched(verb, work) {
  let stop = false;
  const progress = el("p", { role: "status" }, "…");
  const closed = dialog(`${verb.name}: under way`, [progress], {
    action: "Stop", submit: () => true, only: true,
  }).then(() => { stop = true; });
  const shown = /** @type {HTMLDialogElement} */ (progress.closest("dialog"));
  try {
    await work((text) => { progress.textContent = text; }, () => stop);
  } finally {
    shown.close();
    await closed;
  }
}

/**
 * Do it again while what stands in the way will pass.
 * @template Result
 * @param {() => Promise<Result>} action
 * @returns {Promise<Result>}
 */
async function insistent(action) {
  for (let tries = 1; ; tries++) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.passes || tries === TRIES) throw error;
      const waitMs = error.retryAfter * 1000 || AGAIN_MS;
      await new Promise((resolve) => { setTimeout(resolve, waitMs); });
    }
  }
}
