// @ts-check
/** The queues, and the way to pause them. */

import { get, part, post } from "../api.js";
import { el, filler } from "../dom.js";
import { tried } from "../messages.js";
import { time } from "../time.js";
import { doing, number, pill, table, tasksLink } from "../widgets.js";

const EVERY_MS = 5_000;

/** @type {import("../main.js").Make} */
export function queuesView(_place, refresh) {
  const body = el("div", { class: "panel body" });
  const draw = filler(body);
  return {
    title: "Queues",
    root: body,
    every: () => EVERY_MS,
    load: async (signal) => {
      const { data } = await get("queues", [["limit", "1000"]], signal);
      draw(data, () => table("Queues", queueColumns(refresh), data, "No queue is in use."));
    },
  };
}

/**
 * @param {() => Promise<void>} refresh
 * @param {boolean} [brief] without what there is no room for beside other things
 * @returns {import("../widgets.js").Column<any>[]}
 */
export function queueColumns(refresh, brief = false) {
  return [
    { head: "Queue", cell: ({ name }) => tasksLink({ queue: name }, name) },
    { head: "Due", cell: ({ due }) => number(due), number: true },
    { head: "In progress", cell: ({ in_progress: running }) => number(running), number: true },
    { head: "Later", cell: ({ later }) => number(later), number: true },
    { head: "Oldest due", cell: ({ oldest_due_at: at }) => time(at) },
    {
      head: "State",
      cell: ({ paused, paused_at: at }) =>
        paused ? [pill("Paused", "warn"), " ", brief ? null : time(at)] : pill("Open", "good"),
    },
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
