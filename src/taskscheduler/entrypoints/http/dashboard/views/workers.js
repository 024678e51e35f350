// @ts-check
/** The workers. */

import { get } from "../api.js";
import { el, filler } from "../dom.js";
import { span, time } from "../time.js";
import { number, pill, table } from "../widgets.js";

const EVERY_MS = 5_000;

/** @type {import("../main.js").Make} */
export function workersView() {
  const body = el("div", { class: "panel body" });
  const draw = filler(body);
  return {
    title: "Workers",
    root: body,
    every: () => EVERY_MS,
    load: async (signal) => {
      const { data } = await get("workers", [], signal);
      draw(data, () => table("Workers", COLUMNS, data, "No worker is registered."));
    },
  };
}

/** @type {import("../widgets.js").Column<any>[]} */
const COLUMNS = [
  { head: "Worker", cell: ({ id, name }) => el("span", { title: `number ${id}` }, name) },
  {
    head: "State",
    cell: ({ alive }) => (alive
      ? pill("Alive", "good")
      : pill("Silent", "bad", "for longer than its lease: its tasks are taken over")),
  },
  {
    head: "Process",
    cell: ({ host, pid }) => [host ?? "–", pid === null ? "" : ` · ${pid}`],
  },
  { head: "Queues", cell: ({ queues }) => queues.join(", ") },
  { head: "Kinds", cell: ({ kinds }) => kinds.join(", ") },
  {
    head: "Holds",
    cell: ({ running, concurrency }) => `${number(running)} of ${concurrency}`, number: true,
  },
  { head: "Started", cell: ({ started_at: at }) => time(at) },
  { head: "Heard of", cell: ({ seen_at: at }) => time(at) },
  { head: "Lease", cell: ({ lease_s: seconds }) => span(seconds), number: true },
];
