// @ts-check
/** Who did what. */

import { get } from "../api.js";
import { el, filler } from "../dom.js";
import { go, to } from "../router.js";
import { time } from "../time.js";
import { pager, table, taskLink } from "../widgets.js";

const FILTERS = /** @type {const} */ ([
  ["task", "Task (its id)"], ["target", "Queue or key"], ["actor", "Done by"],
]);

/** @type {import("../main.js").Make} */
export function auditView({ query }) {
  const given = Object.fromEntries(FILTERS.map(([name]) => [name, query.get(name) ?? ""]));
  const cursor = query.get("cursor");
  const body = el("div", { class: "panel body" });
  const draw = filler(body);
  const fields = FILTERS.map(([name, label]) => {
    const field = el("input", {
      type: "text", value: given[name], name, autocomplete: "off", spellcheck: "false",
      "data-key": `filter ${name}`, onchange: look,
    });
    return el("label", {}, label, field);
  });
  const form = el("form", { class: "filters", onsubmit: look }, fields,
    el("button", { type: "submit" }, "Filter"));

  /** @param {Event} event */
  function look(event) {
    event.preventDefault();
    const now = new FormData(/** @type {HTMLFormElement} */ (form));
    go(to(["audit"], Object.fromEntries(FILTERS.map(([name]) => [name, String(now.get(name)).trim()]))));
  }

  return {
    title: "Audit trail",
    root: el("div", {}, form, body),
    load: async (signal) => {
      const asked = Object.entries({ ...given, cursor: cursor ?? "" }).filter(([, value]) => value);
      const { data, next } = await get("audit", asked, signal);
      draw([data, next], () => [
        table("Audit trail", COLUMNS, data,
          "Nothing is written down here. An open service does not know who calls, and writes nothing."),
        pager(next, ["audit"], given, cursor === null),
      ]);
    },
  };
}

/** @type {import("../widgets.js").Column<any>[]} */
const COLUMNS = [
  { head: "When", cell: ({ at }) => time(at) },
  { head: "Who", cell: ({ actor, key_id: key }) => el("span", { title: key ?? "" }, actor) },
  { head: "Did", cell: ({ action }) => action },
  {
    head: "To",
    cell: ({ task_id: task, target }) => (task ? taskLink(task) : (target ?? "–")),
  },
  { head: "From", cell: ({ address }) => address ?? "–" },
  {
    head: "Request",
    cell: ({ request_id: id }) => el("span", { class: "id clip", title: id ?? "" }, id ?? "–"),
  },
];
