// @ts-check
/** One task: what it is, why it is not running, what became of its attempts, what can be done. */

import { ApiError, call, get, part, post } from "../api.js";
import { confirmed, dialog } from "../dialogs.js";
import { el, filler } from "../dom.js";
import { exactly, pretty } from "../exact.js";
import { Fields } from "../form.js";
import { complain, say, tried } from "../messages.js";
import { go, to } from "../router.js";
import { span, time } from "../time.js";
import { doing, number, panel, statusPill, tasksLink, within } from "../widgets.js";
import { attemptsOf } from "./attempts.js";

const UNFINISHED_MS = 2_000;
const FINISHED_MS = 15_000;
const WAITING = "Why is it not running?";
const RUNNING = "Where does it run?";

/** @type {import("../main.js").Make} */
export function taskView({ path }, refresh) {
  const id = path[1];
  const address = `tasks/${part(id)}`;
  const head = el("div", { class: "actions" });
  const facts = panel("Task");
  const payload = panel("Payload");
  const result = panel("Result");
  const why = panel(WAITING);
  const whyTitle = /** @type {HTMLElement} */ (why.root.querySelector("h2"));
  const attempts = panel("Attempts");
  const draws = {
    head: filler(head), facts: filler(facts.body), payload: filler(payload.body),
    result: filler(result.body), why: filler(why.body), attempts: filler(attempts.body),
  };
  let everyMs = UNFINISHED_MS;
  why.root.hidden = true;
  result.root.hidden = true;

  /** @param {AbortSignal} signal */
  async function loadWhy(signal) {
    const { data } = await get(`${address}/why`, [], signal);
    draws.why(data, () => el("ul", { class: "reasons" }, data.reasons.map(reasonOf)));
  }

  return {
    title: `Task …${id.slice(-12)}`,
    beside: head,
    root: el("div", { class: "panels" },
      el("div", { class: "column" }, why.root, facts.root, payload.root, result.root),
      attempts.root),
    every: () => everyMs,
    load: async (signal) => {
      const { data, text, etag } = await get(address, [], signal);
      const { payload: exact, result: returned } = exactly(text);
      const waits = ["Pending", "InProgress"].includes(data.status);
      everyMs = waits ? UNFINISHED_MS : FINISHED_MS;
      const shown = { ...data, exact: pretty(exact), etag };
      draws.head([text, etag], () => actionsOf(address, shown, refresh));
      draws.facts(text, () => factsOf(data));
      draws.payload(shown.exact, () => el("pre", { tabindex: 0, "aria-label": "Payload" }, shown.exact));
      result.root.hidden = data.result === null;
      const shownResult = data.result === null ? "" : pretty(returned);
      draws.result(shownResult, () => el("pre", { tabindex: 0, "aria-label": "Result" }, shownResult));
      draws.attempts(data.attempts, () => attemptsOf(data.attempts));
      why.root.hidden = !waits;
      whyTitle.textContent = data.status === "InProgress" ? RUNNING : WAITING;
      if (waits) await within(why.body, () => loadWhy(signal));
    },
  };
}

/** @param {any} task */
function factsOf(task) {
  /** @type {[string, import("../dom.js").Children][]} */
  const facts = [
    ["Status", statusPill(task.status)],
    ["Id", el("span", { class: "id" }, task.id)],
    ["Kind", tasksLink({ kind: task.kind }, task.kind)],
    ["Queue", tasksLink({ queue: task.queue }, task.queue)],
    ["Group", task.group === null ? null : tasksLink({ group: task.group }, task.group)],
    ["Priority", task.priority],
    ["To be run at", time(task.execute_at, { exact: true })],
    ["Next attempt at", task.status === "Pending" && task.process_at !== task.execute_at
      ? time(task.process_at, { exact: true }) : null],
    ["Created", time(task.created_at, { exact: true })],
    ["Started", time(task.started_at, { exact: true })],
    ["Finished", time(task.finished_at, { exact: true })],
    ["Progress", task.progress === null ? null : progressOf(task.progress)],
    ["Attempts", `${task.attempt}${task.max_attempts === null ? "" : ` of ${task.max_attempts}`}`],
    ["Time-out", task.timeout_s === null ? "–" : span(task.timeout_s)],
    ["Unique key", task.unique_key ?? "–"],
    ["Expires", time(task.expires_at, { exact: true })],
    ["Tags", task.tags.length ? task.tags.map((/** @type {string} */ tag) =>
      [tasksLink({ tag }, tag), " "]) : null],
  ];
  return el("dl", {}, facts
    .filter(([, value]) => value !== null)
    .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** @param {any} progress */
function progressOf({ fraction, message, at }) {
  return [
    fraction === null ? null : [`${Math.round(fraction * 100)} % `],
    message, " (", time(at), ")",
  ];
}

/** @param {any} cause */
function reasonOf(cause) {
  // NoWorker is No worker.
  const name = cause.reason.replace(/(?<=[a-z])[A-Z]/g, (/** @type {string} */ each) => ` ${each.toLowerCase()}`);
  return el("li", {}, el("strong", {}, name), ": ", cause.detail,
    cause.until ? ["; this ends ", time(cause.until)] : null,
    cause.since ? ["; this began ", time(cause.since)] : null,
    cause.before ? `; before it come ${number(cause.before)}` : null);
}

/**
 * Return the buttons for what the task's status allows.
 * @param {string} address
 * @param {any} task
 * @param {() => Promise<void>} refresh
 */
function actionsOf(address, task, refresh) {
  /**
   * @param {string} verb
   * @param {string} done
   */
  const change = (verb, done) => async () => {
    await tried(() => post(`${address}/${verb}`), done);
    await refresh();
  };
  const { status } = task;
  const running = status === "InProgress";
  return [
    status === "Pending" && Date.parse(task.process_at) > Date.now()
      ? doing("Run now", change("run", "It is due now."), { "data-key": "run" }) : null,
    status === "Pending"
      ? doing("Edit", () => edit(address, task, refresh), { "data-key": "edit" }) : null,
    ["Failed", "Cancelled"].includes(status)
      ? doing("Retry", change("retry", "It is pending again."),
        { class: "main", "data-key": "retry" }) : null,
    status === "Pending" || running
      ? doing("Cancel", change("cancel", "It is cancelled."), { "data-key": "cancel" }) : null,
    doing("Delete", () => remove(address, running, refresh), { class: "danger", "data-key": "delete" }),
  ];
}

/**
 * @param {string} address
 * @param {boolean} running
 * @param {() => Promise<void>} refresh
 */
async function remove(address, running, refresh) {
  const sure = await confirmed("Delete this task?",
    running ? "It is in progress: it is cancelled first, and its handler is told to stop."
      : "Its attempts and their errors go with it.", { action: "Delete", danger: true });
  if (sure === null) return;
  const query = /** @type {[string, string][]} */ (running ? [["force", "true"]] : []);
  const gone = await tried(() => call("DELETE", address, { query }), "The task is deleted.");
  if (gone) go(to(["tasks"]));
  else await refresh();
}

/**
 * Edit the task as it was seen: if it has changed since, nothing is stored.
 * @param {string} address
 * @param {any} task
 * @param {() => Promise<void>} refresh
 */
async function edit(address, task, refresh) {
  const fields = new Fields([
    { name: "execute_at", label: "To be run at", sort: "time", value: task.execute_at, required: true },
    {
      name: "priority", label: "Priority", sort: "number", value: String(task.priority),
      required: true, hint: "0, the most urgent, to 9",
    },
    { name: "payload", label: "Payload", sort: "json", value: task.exact, required: true },
  ]);

  async function submit() {
    const body = fields.body({ changed: true });
    if (body === null) return undefined;
    if (body === "{}") return "nothing";
    try {
      /** @type {Record<string, string>} */
      const headers = task.etag ? { "If-Match": task.etag } : {};
      await call("PATCH", address, { body, headers });
      return "changed";
    } catch (error) {
      if (!(error instanceof ApiError) || ![404, 409, 412].includes(error.status)) {
        fields.refused(error);
        return undefined;
      }
      if (error.status !== 412) complain(error);
      return error.status === 412 ? "late" : "refused";
    }
  }

  const result = await dialog("Edit the task", fields.root, { action: "Save", submit });
  if (result === "changed") say("The task is changed.");
  if (result === "late") {
    say("The task has changed since you opened it, so nothing was saved. "
      + "This is the task as it is now.", "error");
  }
  if (result !== null) await refresh();
}
