// @ts-check
/** A form that stores a task. */

import { call } from "../api.js";
import { el } from "../dom.js";
import { Fields } from "../form.js";
import { say } from "../messages.js";
import { go, to } from "../router.js";
import { doing } from "../widgets.js";

/** @type {import("../main.js").Make} */
export function newTaskView({ query }) {
  const fields = new Fields([
    { name: "kind", label: "Kind", sort: "text", required: true, value: query.get("kind") ?? "" },
    { name: "queue", label: "Queue", sort: "text", value: query.get("queue") ?? "", hint: "empty: default" },
    { name: "execute_at", label: "To be run at", sort: "time", hint: "empty: now" },
    { name: "priority", label: "Priority", sort: "number", hint: "0, the most urgent, to 9; empty: 5" },
    { name: "payload", label: "Payload", sort: "json", hint: "any JSON; empty: null" },
    { name: "max_attempts", label: "Attempts at most", sort: "number", hint: "empty: as its handler has it" },
    { name: "timeout_s", label: "Time-out in seconds", sort: "number", hint: "empty: as its handler has it" },
    { name: "unique_key", label: "Unique key", sort: "text", hint: "of its kind: stored once a day" },
    { name: "group", label: "Group", sort: "text", hint: "whose it is: a tenant, a customer" },
    { name: "tags", label: "Tags", sort: "names", hint: "up to 10 names, with blanks between" },
    { name: "expires_at", label: "Expires", sort: "time", hint: "no attempt begins at or after it" },
  ]);
  /** What was sent under which name, so that it is stored once if the answer is lost. */
  let sent = { body: "", name: "" };

  async function store() {
    const body = fields.body();
    if (body === null) return;
    if (body !== sent.body) sent = { body, name: newName() };
    try {
      const { data } = await call("PUT", "tasks", { body, headers: { "Idempotency-Key": sent.name } });
      say(`Task ${data.id} is stored.`);
      go(to(["tasks", data.id]));
    } catch (error) {
      fields.refused(error);
    }
  }

  const submit = doing("Store the task", store, { class: "main" });
  return {
    title: "New task",
    root: el("form", {
      class: "panel body",
      novalidate: true,
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        submit.click();
      },
    }, fields.root, el("div", { class: "buttons" }, submit)),
  };
}

/** Not `randomUUID`: browsers have that on secure origins alone. */
function newName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
}
