// @ts-check
/** The tasks: found by filters that stand in the address, chosen, and changed together. */

import { get } from "../api.js";
import { el, fill, filler } from "../dom.js";
import { go, to } from "../router.js";
import { time } from "../time.js";
import { doing, pager, statusPill, STATUSES, table, taskLink } from "../widgets.js";
import { changeMatching, changeSelected, VERBS } from "./bulk.js";

const EVERY_MS = 5_000;
const PAGE = "50";
const FILTERS = /** @type {const} */ (["status", "kind", "queue", "group", "tag"]);

/** @type {import("../main.js").Make} */
export function tasksView({ query }, refresh) {
  const given = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const cursor = query.get("cursor");
  const filters = FILTERS.filter((name) => given[name]).map((name) => `${name}:${given[name]}`);
  /** @type {Set<string>} */
  const selected = new Set();
  /** @type {string[]} */
  let page = [];
  /** @type {Map<string, string>} the status of each task, as it was last seen */
  const seen = new Map();
  const body = el("div", { class: "panel body" });
  const draw = filler(body);
  const bar = el("div", { class: "bar" });
  const fillBar = filler(bar);
  drawBar();

  function drawBar() {
    fillBar([selected.size, VERBS.map(changes)], () => [
      el("div", { class: "group", role: "group", "aria-label": "Selected tasks" },
        el("span", {}, `${selected.size} selected`),
        VERBS.map((verb) => doing(verb.name, async () => {
          const left = await changeSelected(verb, [...selected]);
          if (left === null) return;
          selected.clear();
          for (const each of left) selected.add(each);
          mark();
          await refresh();
        }, {
          disabled: !changes(verb), class: verb.danger && "danger",
          "data-key": `selected ${verb.name}`,
          "aria-label": `${verb.name} the selected tasks`,
        }))),
      el("div", { class: "group", role: "group", "aria-label": "All tasks that match" },
        el("span", {}, filters.length ? "All that match" : "All tasks"),
        VERBS.filter(({ statuses }) => !given.status || statuses.includes(given.status)).map((verb) => doing(`${verb.name} …`, async () => {
          if (await changeMatching(verb, filters)) await refresh();
        }, {
          class: verb.danger && "danger", "data-key": `all ${verb.name}`,
          "aria-label": `${verb.name} all tasks that match`,
        }))),
    ]);
  }

  /** @param {import("./bulk.js").Verb} verb whether it changes any of what is selected */
  function changes(verb) {
    return [...selected].some((id) => verb.statuses.includes(seen.get(id) ?? ""));
  }

  /** Show what is selected. */
  function mark() {
    for (const each of body.querySelectorAll("input[type=checkbox]")) {
      const box = /** @type {HTMLInputElement} */ (each);
      box.checked = box.value === "all"
        ? page.length > 0 && page.every((id) => selected.has(id)) : selected.has(box.value);
    }
    drawBar();
  }

  /** @param {Event} event */
  function select(event) {
    const { value, checked } = /** @type {HTMLInputElement} */ (event.target);
    for (const id of value === "all" ? page : [value]) {
      if (checked) selected.add(id);
      else selected.delete(id);
    }
    mark();
  }

  /**
   * @param {string} value
   * @param {string} label
   */
  const box = (value, label) => el("input", {
    type: "checkbox", value, "aria-label": label, "data-key": `select ${value}`, onchange: select,
  });

  return {
    title: "Tasks",
    beside: el("a", { class: "button main", href: to(["new"]) }, "New task"),
    root: el("div", {}, filterForm(given), bar, body),
    every: () => EVERY_MS,
    load: async (signal) => {
      const asked = /** @type {[string, string][]} */ ([
        ...filters.map((each) => ["filter", each]), ["limit", PAGE],
        ...(cursor ? [["cursor", cursor]] : []),
      ]);
      const { data, next } = await get("tasks", asked, signal);
      page = data.map((/** @type {{id: string}} */ { id }) => id);
      for (const { id, status } of data) seen.set(id, status);
      draw([data, next], () => [
        page.length ? el("label", { class: "tick" }, box("all", "Select all of this page"),
          "All of this page") : null,
        table("Tasks, the newest first", [
          { head: "Select", bare: true, cell: ({ id }) => box(id, `Select task ${id}`) },
          { head: "Task", cell: ({ id }) => taskLink(id) },
          { head: "Kind", cell: ({ kind }) => kind },
          { head: "Queue", cell: ({ queue }) => queue },
          { head: "Group", cell: ({ group }) => group ?? "" },
          { head: "Status", cell: ({ status }) => statusPill(status) },
          { head: "Priority", cell: ({ priority }) => priority, number: true },
          { head: "Attempts", cell: attemptsOf, number: true },
          { head: "Created", cell: ({ created_at: at }) => time(at) },
          { head: "Due", cell: ({ status, process_at: at }) => time(status === "Pending" ? at : null) },
          { head: "Finished", cell: ({ finished_at: at }) => time(at) },
        ], data, filters.length ? "No task matches." : "There is no task yet."),
        pager(next, ["tasks"], given, cursor === null),
      ]);
      mark();
    },
  };
}

/** @param {any} task */
function attemptsOf({ attempt, max_attempts: most }) {
  return most === null ? String(attempt) : `${attempt} of ${most}`;
}

/** @param {Record<string, string>} given */
function filterForm(given) {
  const kinds = el("datalist", { id: "kinds" });
  const queues = el("datalist", { id: "queues" });
  let asked = false;

  /** Suggest what is known. Only who is about to type needs it, and it may be refused. */
  async function suggest() {
    if (asked) return;
    asked = true;
    const [workers, known] = await Promise.allSettled([get("workers"), get("queues")]);
    if (workers.status === "fulfilled") {
      options(kinds, workers.value.data.flatMap((/** @type {any} */ each) => each.kinds));
    }
    if (known.status === "fulfilled") {
      options(queues, known.value.data.map((/** @type {any} */ each) => each.name));
    }
  }

  /** @param {Event} event */
  function look(event) {
    event.preventDefault();
    const now = new FormData(/** @type {HTMLFormElement} */ (form));
    const fragment = to(["tasks"], Object.fromEntries(
      FILTERS.map((name) => [name, String(now.get(name)).trim()])));
    if (fragment !== location.hash) go(fragment);
  }

  /** @param {"kind" | "queue" | "group" | "tag"} name */
  const field = (name) => el("input", {
    type: "text", name, value: given[name], list: ["tag", "group"].includes(name) ? null : `${name}s`, autocomplete: "off",
    spellcheck: "false", "data-key": `filter ${name}`, onchange: look, onfocus: suggest,
  });
  const status = el("select", { name: "status", "data-key": "filter status", onchange: look },
    el("option", { value: "" }, "Any"),
    STATUSES.map((each) => el("option", { value: each, selected: each === given.status }, each)));
  const form = el("form", { class: "filters", onsubmit: look },
    el("label", {}, "Status", status),
    el("label", {}, "Kind", field("kind")),
    el("label", {}, "Queue", field("queue")),
    el("label", {}, "Group", field("group")),
    el("label", {}, "Tag", field("tag")),
    el("button", { type: "submit" }, "Filter"),
    FILTERS.some((name) => given[name]) ? el("a", { href: to(["tasks"]) }, "Clear") : null,
    kinds, queues);
  return form;
}

/**
 * @param {HTMLElement} list
 * @param {string[]} values
 */
function options(list, values) {
  fill(list, [...new Set(values)].sort().map((value) => el("option", { value })));
}
