// @ts-check
/** The queues, and the way to pause them. */

import { ApiError, get, part, post } from "../api.js";
import { el, filler } from "../dom.js";
import { tried } from "../messages.js";
import { time } from "../time.js";
import { doing, number, pager, pill, table, tasksLink } from "../widgets.js";

const EVERY_MS = 5_000;
const PAGE = "1000";

/**
 * Ask for a page of the queues, by name.
 * @param {AbortSignal} signal
 * @param {string | null} [cursor]
 */
export function queuesFrom(signal, cursor = null) {
  const query = /** @type {[string, string][]} */ ([
    ["limit", PAGE], ...(cursor ? [["cursor", cursor]] : []),
  ]);
  return get("queues", query, signal);
}

/** @type {import("../main.js").Make} */
export function queuesView({ query }, refresh) {
  const cursor = query.get("cursor");
  const body = el("div", { class: "panel body" });
  const draw = filler(body);
  return {
    title: "Queues",
    root: body,
    every: () => EVERY_MS,
    load: async (signal) => {
      const [{ data, next }, takers] = await Promise.all([queuesFrom(signal, cursor), takersOf(signal)]);
      draw([data, next, takers && [...takers]], () => [
        table("Queues", queueColumns(refresh, takers), data, "No queue is in use."),
        pager(next, ["queues"], {}, cursor === null),
      ]);
    },
  };
}

/**
 * Ask which queues are taken by how many live workers; null where the key may not see workers.
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, number> | null>}
 */
export async function takersOf(signal) {
  try {
    return taken((await get("workers", [], signal)).data);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
    return null;
  }
}

/**
 * @param {any[]} workers
 * @returns {Map<string, number>} by how many live workers each queue is taken
 */
export function taken(workers) {
  const takers = new Map();
  for (const { alive, queues } of workers) {
    if (alive) for (const name of queues) takers.set(name, (takers.get(name) ?? 0) + 1);
  }
  return takers;
}

/**
 * @param {any} queue
 * @param {Map<string, number> | null} takers
 * @param {boolean} brief
 */
function stateOf({ name, paused, paused_at: at }, takers, brief) {
  if (paused) return [pill("Paused", "warn"), " ", brief ? null : time(at)];
  if (takers === null) return pill("Open", "idle", "by whom it is taken, this key may not see");
  const count = takers.get(name) ?? 0;
  if (count === 0) return pill("No worker", "bad", "it is open, and no live worker takes it");
  return pill("Open", "good", `taken by ${count} ${count === 1 ? "worker" : "workers"}`);
}

/**
 * @param {() => Promise<void>} refresh
 * @param {Map<string, number> | null} takers
 * @param {boolean} [brief] without what there is no room for beside other things
 * @returns {import("../widgets.js").Column<any>[]}
 */
export function queueColumns(refresh, takers, brief = false) {
  return [
    { head: "Queue", cell: ({ name }) => tasksLink({ queue: name }, name) },
    { head: "Due", cell: ({ due }) => number(due), number: true },
    { head: "In progress", cell: ({ in_progress: running }) => number(running), number: true },
    { head: "Later", cell: ({ later }) => number(later), number: true },
    { head: "Oldest due", cell: ({ oldest_due_at: at }) => time(at) },
    { head: "State", cell: (queue) => stateOf(queue, takers, brief) },
    {
      head: "Actions", bare: true,
      cell: ({ name, paused }) => {
        const verb = paused ? "resume" : "pause";
        return doing(paused ? "Resume" : "Pause", async () => {
          await tried(() => post(`queues/${part(name)}/${verb}`), `Queue ${name}: ${verb}d.`);
          await refresh();
        }, { "data-key": `queue ${name}`, "aria-label": `${paused ? "Resume" : "Pause"} ${name}` });
      },
    },
  ];
}
