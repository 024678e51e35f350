// @ts-check
/** What is stored again and again by itself. */

import { ApiError, call, get, part, post } from "../api.js";
import { confirmed, dialog } from "../dialogs.js";
import { el, filler } from "../dom.js";
import { exactly, pretty } from "../exact.js";
import { complain, say, tried } from "../messages.js";
import { span, time } from "../time.js";
import { doing, pager, pill, table, taskLink } from "../widgets.js";
import { editSchedule } from "./schedule-form.js";

const EVERY_MS = 5_000;
const PAGE = "100";
const FIRES = "10";

let unserved = false;

/**
 * Ask for the schedules; null where the service has no such calls, which is asked once.
 * @param {AbortSignal} signal
 * @param {string | null} [cursor]
 */
export async function served(signal, cursor = null) {
  if (unserved) return null;
  try {
    const query = /** @type {[string, string][]} */ ([
      ["limit", PAGE], ...(cursor ? [["cursor", cursor]] : []),
    ]);
    return await get("schedules", query, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    unserved = true;
    return null;
  }
}

/** @type {import("../main.js").Make} */
export function schedulesView({ query }, refresh) {
  unserved = false;
  const cursor = query.get("cursor");
  const body = el("div", { class: "panel body" });
  const draw = filler(body);
  const make = doing("New schedule", async () => {
    if (await editSchedule(null)) await refresh();
  }, { class: "main" });
  make.hidden = true;
  return {
    title: "Schedules",
    beside: make,
    root: body,
    every: () => (unserved ? 0 : EVERY_MS),
    load: async (signal) => {
      const answer = await served(signal, cursor);
      make.hidden = answer === null;
      draw(answer && [answer.text, answer.next], () => {
        if (answer === null) return notServed();
        const exact = exactly(answer.text);
        const rows = answer.data.map((/** @type {any} */ each, /** @type {number} */ index) =>
          ({ ...each, exact: pretty(exact[index].payload) }));
        return [
          table("Schedules", columns(refresh), rows, "There is no schedule yet."),
          pager(answer.next, ["schedules"], {}, cursor === null),
        ];
      });
    },
  };
}

/** Say that the service has no such calls. */
export function notServed() {
  return el("p", { class: "empty" }, "Schedules are not served here.");
}

/**
 * @param {() => Promise<void>} refresh
 * @returns {import("../widgets.js").Column<any>[]}
 */
function columns(refresh) {
  return [
    { head: "Schedule", cell: ({ name }) => name },
    { head: "Kind", cell: ({ kind, queue }) => el("span", { title: `queue ${queue}` }, kind) },
    { head: "When", cell: whenOf },
    {
      head: "State",
      cell: ({ paused, paused_at: at, pause_reason: why, next_fire_at: next }) => {
        if (paused) return [pill("Paused", "warn"), " ", time(at), why ? [": ", why] : []].flat();
        return next === null ? pill("Ended", "idle") : pill("On", "good");
      },
    },
    { head: "Next", cell: ({ next_fire_at: at }) => time(at) },
    {
      head: "Last",
      cell: ({ last_fire_at: at, last_task_id: task }) =>
        [time(at), task ? [" ", taskLink(task)] : []].flat(),
    },
    { head: "Actions", bare: true, cell: (schedule) => actionsOf(schedule, refresh) },
  ];
}

/** @param {any} schedule */
function whenOf({ cron, crons, rrule, every_s: seconds, time_zone: zone }) {
  const times = [cron, ...(crons ?? []), rrule].filter((each) => each);
  return times.length === 0
    ? `every ${span(seconds)}`
    : [el("code", {}, times.join(" | ")), " ", el("span", { class: "hint" }, zone)];
}

/**
 * @param {any} schedule
 * @param {() => Promise<void>} refresh
 */
function actionsOf(schedule, refresh) {
  const { name, paused } = schedule;
  const address = `schedules/${part(name)}`;
  /**
   * @param {string} text
   * @param {() => Promise<unknown>} action
   * @param {string} [look]
   */
  const act = (text, action, look = "") => doing(text, async () => {
    if ((await action()) !== null) await refresh();
  }, { class: look, "data-key": `${text} ${name}`, "aria-label": `${text} ${name}` });
  return el(
    "div", { class: "group" },
    paused
      ? act("Resume", () => tried(() => post(`${address}/resume`), `${name}: resumed.`))
      : act("Pause", () => tried(() => post(`${address}/pause`), `${name}: paused.`)),
    act("Trigger", () => trigger(address)),
    act("Preview", () => preview(address, name)),
    act("Edit", () => editSchedule(schedule)),
    act("Delete", async () => {
      const sure = await confirmed(`Delete the schedule ${name}?`,
        "The tasks that it has stored stay.", { action: "Delete", danger: true });
      return sure && tried(() => call("DELETE", address), `${name}: deleted.`);
    }, "danger"),
  );
}

/** @param {string} address */
async function trigger(address) {
  try {
    const { data } = await post(`${address}/trigger`);
    say(`Task ${data.id} is stored.`);
    return data;
  } catch (error) {
    complain(error);
    return null;
  }
}

/**
 * @param {string} address
 * @param {string} name
 */
async function preview(address, name) {
  try {
    const { data } = await get(`${address}/preview`, [["n", FIRES]]);
    const fires = table(`Fires of ${name}`, [
      { head: "Fires", cell: ({ at }) => time(at, { exact: true }) },
      { head: data.time_zone, cell: ({ local }) => local },
      {
        head: "Clocks",
        cell: ({ clocks, note }) => (clocks ? el("span", { title: note }, pill(clocks, "warn")) : ""),
      },
    ], data.fires, "It fires no more.");
    await dialog(`${name} fires`, fires, { action: "Back", submit: () => true, only: true });
  } catch (error) {
    complain(error);
  }
  return null;
}
