// @ts-check
/** Dialogs: for a key, to confirm, and for forms. The browser keeps the focus within. */

import { button, el } from "./dom.js";

/** @typedef {import("./dom.js").Children} Children */

/**
 * Show a dialog. It ends with what `submit` returns, or with null if it is left otherwise.
 * @template Result
 * @param {string} title
 * @param {Children} content
 * @param {object} options
 * @param {string} options.action what the button says
 * @param {() => Promise<Result | undefined> | Result | undefined} options.submit
 *     undefined: stay open
 * @param {boolean} [options.danger]
 * @param {boolean} [options.only] there is nothing to choose, so one button is enough
 * @returns {Promise<Result | null>}
 */
export function dialog(title, content, { action, submit, danger = false, only = false }) {
  return new Promise((resolve) => {
    /** @type {Result | null} */
    let result = null;
    const heading = `dialog-${Math.random().toString(36).slice(2)}`;
    const form = el(
      "form", { onsubmit: send, novalidate: true },
      el("h2", { id: heading }, title), content,
      el("div", { class: "buttons" },
        only ? null : button("Back", () => shown.close()),
        el("button", { type: "submit", class: danger ? "danger" : "main" }, action)),
    );
    const shown = /** @type {HTMLDialogElement} */ (
      el("dialog", { "aria-labelledby": heading, onclose: ended }, form));

    /** @param {Event} event */
    async function send(event) {
      event.preventDefault();
      if (form.getAttribute("aria-busy") === "true") return;
      form.setAttribute("aria-busy", "true");
      try {
        const given = await submit();
        if (given === undefined) return;
        result = given;
        shown.close();
      } finally {
        form.removeAttribute("aria-busy");
      }
    }

    function ended() {
      shown.remove();
      resolve(result);
    }

    document.body.append(shown);
    shown.showModal();
    const first = form.querySelector("input, textarea, select");
    if (first instanceof HTMLElement) first.focus();
  });
}

/**
 * Ask for a key.
 * @param {string} why what the service said
 * @param {{orNone?: boolean}} [options] whether an empty field is an answer, too
 * @returns {Promise<string | null>}
 */
export function askForKey(why, { orNone = false } = {}) {
  const field = /** @type {HTMLInputElement} */ (el("input", {
    id: "key-field", type: "password", autocomplete: "off", spellcheck: "false",
    placeholder: "tsk_…", "aria-describedby": "key-why",
  }));
  return dialog(
    "A key, please",
    [
      el("p", { id: "key-why", role: "alert" }, why),
      el("label", { for: "key-field" }, "Key"), field,
      el("p", { class: "hint" }, "It stays in this tab, until the tab is closed. ",
        "One is made by: taskscheduler keys add"),
    ],
    { action: "Use this key", submit: () => field.value.trim() || (orNone ? "" : undefined) },
  );
}

/**
 * Ask whether to go on.
 * @param {string} title
 * @param {string} text
 * @param {object} options
 * @param {string} options.action
 * @param {string} [options.option] a choice that may be ticked, too
 * @param {string} [options.word] what must be typed, where much is at stake
 * @param {boolean} [options.danger]
 * @returns {Promise<{ticked: boolean} | null>}
 */
export function confirmed(title, text, { action, option, word, danger }) {
  const tick = /** @type {HTMLInputElement} */ (el("input", { type: "checkbox" }));
  const typed = /** @type {HTMLInputElement} */ (el("input", {
    type: "text", autocomplete: "off", "aria-label": `Type ${word} to go on`,
  }));
  const content = [
    el("p", {}, text),
    option ? el("label", { class: "tick" }, tick, option) : null,
    word ? el("p", {}, `Type “${word}” to go on: `, typed) : null,
  ];
  const submit = () => {
    if (word && typed.value.trim() !== word) {
      typed.setAttribute("aria-invalid", "true");
      typed.focus();
      return undefined;
    }
    return { ticked: tick.checked };
  };
  return dialog(title, content, { action, submit, danger });
}
