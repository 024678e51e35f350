// @ts-check
/** How all of it is, at a glance. */

import { call, get } from "../api.js";
import { el, filler } from "../dom.js";
import { to } from "../router.js";
import { span, time } from "../time.js";
import { number, panel, pill, sum, table, taskLink, tasksLink, within } from "../widgets.js";
import { faultOf } from "./attempts.js";
import { queueColumns, queuesFrom, takersOf } from "./queues.js";
import { notServed, served } from "./schedules.js";

const EVERY_MS = 5_000;
const NEWEST = 10;
const SOON = 6;
const SILENT_MS = 3_000;
const FAULT_MAX = 100;

/** @type {import("../main.js").Make} */
export function overviewView(_place, refresh) {
  const health = el("p", { class: "health" });
  const numbers = el("div", { class: "numbers" });
  const queues = panel("Queues", el("a", { href: to(["queues"]) }, "All"));
  const failed = panel("Failed tasks, the last stored first", tasksLink({ status: "Failed" }, "All"));
  const workers = panel("Workers", el("a", { href: to(["workers"]) }, "All"));
  const schedules = panel("Schedules", el("a", { href: to(["schedules"]) }, "All"));
  const draws = {
    health: filler(health), numbers: filler(numbers), queues: filler(queues.body),
    failed: filler(failed.body), workers: filler(workers.body), schedules: filler(schedules.body),
  };

  /** @param {AbortSignal} signal */
  async function loadHealth(signal) {
    // What was found before says nothing of a service that has fallen silent since.
    const silent = setTimeout(() => {
      if (!signal.aborted) draws.health("silent", () => pill("Does not answer", "bad"));
    }, SILENT_MS);
    try {
      const { status, data } = await call("GET", "readyz", { signal, also: [503] });
      draws.health(data, () => healthOf(status, data));
    } catch (error) {
      if (!signal.aborted) draws.health("unknown", () => pill("Not known", "warn"));
      throw error;
    } finally {
      clearTimeout(silent);
    }
  }

  /** @param {AbortSignal} signal */
  async function loadQueues(signal) {
    const [{ data, next }, takers] = await Promise.all([queuesFrom(signal), takersOf(signal)]);
    draws.numbers([data, next], () => numbersOf(data, next === null));
    draws.queues([data, next, takers && [...takers]], () => [
      table("Queues", queueColumns(refresh, takers, true), data, "No queue is in use."),
      next === null ? null : el("p", { class: "line" },
        `These are the first ${data.length.toLocaleString("en")} by name, and the numbers above are theirs. `,
        el("a", { href: to(["queues"], { cursor: next }) }, "The queues after them")),
    ]);
  }

  /** @param {AbortSignal} signal */
  async function loadFailed(signal) {
    const query = /** @type {[string, string][]} */ ([
      ["filter", "status:Failed"], ["limit", String(NEWEST)],
    ]);
    const { data } = await get("tasks", query, signal);
    const faults = await Promise.all(data.map((/** @type {any} */ task) => faultOf(task, signal)));
    const rows = data.map((/** @type {any} */ task, /** @type {number} */ index) =>
      ({ ...task, fault: faults[index] }));
    draws.failed(rows, () => table("Failed tasks, the last stored first", [
      { head: "Task", cell: ({ id }) => taskLink(id) },
      { head: "Kind", cell: ({ kind }) => kind },
      { head: "Queue", cell: ({ queue }) => queue },
      { head: "Attempts", cell: ({ attempt }) => attempt, number: true },
      { head: "Failed", cell: ({ finished_at: at }) => time(at) },
      { head: "Error", cell: ({ fault }) => el("span", { title: fault }, short(fault) || "–") },
    ], rows, "No task has failed."));
  }

  /** @param {AbortSignal} signal */
  async function loadWorkers(signal) {
    const { data } = await get("workers", [], signal);
    draws.workers(data, () => workersOf(data));
  }

  /** @param {AbortSignal} signal */
  async function loadSchedules(signal) {
    const answer = await served(signal);
    draws.schedules(answer, () => (answer ? schedulesOf(answer.data, answer.next) : notServed()));
  }

  return {
    title: "Overview",
    root: el("div", {}, health, numbers,
      el("div", { class: "panels" },
        el("div", { class: "column" }, queues.root, workers.root, schedules.root), failed.root)),
    every: () => EVERY_MS,
    load: async (signal) => {
      await Promise.all([
        loadHealth(signal),
        within(queues.body, () => loadQueues(signal)),
        within(failed.body, () => loadFailed(signal)),
        within(workers.body, () => loadWorkers(signal)),
        within(schedules.body, () => loadSchedules(signal)),
      ]);
    },
  };
}

/** @param {string} fault */
function short(fault) {
  return fault.length > FAULT_MAX ? `${fault.slice(0, FAULT_MAX)} …` : fault;
}

/**
 * @param {number} status
 * @param {any} data
 */
function healthOf(status, data) {
  const { schema, wakeups } = data ?? {};
  const polling = wakeups?.state === "polling";
  return [
    status === 200 ? pill("Ready", "good") : pill("Not ready", "bad"),
    data?.detail ? el("span", {}, data.detail) : null,
    schema ? el("span", {}, `Schema ${schema.found}`,
      schema.found === schema.expected ? "" : `, this service expects ${schema.expected}`) : null,
    polling
      ? el("span", {}, pill("Wake-ups degraded", "warn"), ` since `, time(wakeups.since),
        `: ${wakeups.reason ?? "workers poll"}`)
      : wakeups ? el("span", {}, `Wake-ups by ${wakeups.by}: ${wakeups.state}`) : null,
  ];
}

/**
 * @param {any[]} queues
 * @param {boolean} all whether there are no others
 */
function numbersOf(queues, all) {
  const oldest = queues.map((each) => each.oldest_due_at).filter(Boolean).sort()[0] ?? null;
  /** @param {"due" | "later" | "in_progress"} name */
  const total = (name) => {
    const { count, exact } = sum(queues.map((each) => each[name]));
    return number({ count, exact: exact && all });
  };
  const paused = { count: queues.filter((each) => each.paused).length, exact: all };
  return [
    tile(total("due"), "due"), tile(total("in_progress"), "in progress"),
    tile(total("later"), "for later"), tile(time(oldest), "oldest due"),
    tile(number(paused), "queues paused"),
  ];
}

/**
 * @param {import("../dom.js").Child} value
 * @param {string} name
 */
function tile(value, name) {
  return el("div", { class: "tile" }, el("strong", {}, value), el("span", {}, name));
}

/** @param {any[]} workers */
function workersOf(workers) {
  const alive = workers.filter((each) => each.alive);
  const silent = workers.filter((each) => !each.alive);
  const slots = alive.reduce((total, each) => total + each.concurrency, 0);
  return [
    el("p", { class: "line" },
      pill(`${alive.length} alive`, alive.length ? "good" : "warn"), " ",
      silent.length ? pill(`${silent.length} silent`, "bad") : null,
      ` They hold ${number(sum(alive.map((each) => each.running)))} tasks, and run up to ${slots} at once.`),
    silent.length === 0 ? null : table("Silent workers", [
      { head: "Worker", cell: ({ name }) => name },
      { head: "Heard of", cell: ({ seen_at: at }) => time(at) },
      { head: "Lease", cell: ({ lease_s: seconds }) => span(seconds), number: true },
    ], silent, ""),
  ];
}

/**
 * @param {any[]} schedules
 * @param {string | null} next
 */
function schedulesOf(schedules, next) {
  const paused = schedules.filter((each) => each.paused).length;
  const firing = schedules
    .filter((each) => !each.paused && each.next_fire_at)
    .sort((a, b) => (a.next_fire_at < b.next_fire_at ? -1 : 1));
  return [
    el("p", { class: "line" }, `${schedules.length}${next ? "+" : ""} in all `,
      paused ? pill(`${paused} paused`, "warn") : null),
    table("Schedules that fire next", [
      { head: "Schedule", cell: ({ name }) => name },
      { head: "Kind", cell: ({ kind }) => kind },
      { head: "Next", cell: ({ next_fire_at: at }) => time(at) },
      { head: "Last", cell: ({ last_fire_at: at }) => time(at) },
    ], firing.slice(0, SOON), "None will fire."),
  ];
}
