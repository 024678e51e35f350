// @ts-check
/** Forms whose fields say by themselves what is wrong with them, as the API has told it. */

import { ApiError } from "./api.js";
import { el } from "./dom.js";
import { fromField, isLocal, toField, zone } from "./time.js";

/**
 * @typedef {object} Field
 * @property {string} name as the API calls it
 * @property {string} label
 * @property {"text" | "number" | "time" | "json" | "choice" | "names"} sort names: a list, with blanks between
 * @property {string} [value]
 * @property {string} [hint]
 * @property {[string, string][]} [choices] value and what it says
 * @property {boolean} [required]
 * @property {boolean} [wide]
 * @property {string[]} [known] what is suggested
 */

/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Control */

let forms = 0;

/** The fields of one form. */
export class Fields {
  /** @param {Field[]} fields */
  constructor(fields) {
    this._id = `form-${++forms}`;
    this._local = isLocal();
    /** @type {Map<string, {field: Field, control: Control, error: HTMLElement, first: string}>} */
    this._shown = new Map();
    this._general = el("p", { class: "error", role: "alert", hidden: true });
    this.root = el("div", { class: "fields" }, fields.map((each) => this._row(each)), this._general);
  }

  /** @param {Field} field */
  _row(field) {
    const id = `${this._id}-${field.name}`;
    const control = controlOf(field, id);
    const error = el("p", { class: "error", id: `${id}-error`, hidden: true });
    const hint = [field.sort === "time" ? zone() : "", field.hint ?? ""].filter(Boolean).join("; ");
    control.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
    this._shown.set(field.name, { field, control, error, first: control.value });
    return el(
      "div", { class: field.wide || field.sort === "json" ? "field wide" : "field" },
      el("label", { for: id }, field.label, field.required ? " (required)" : ""),
      control,
      field.known ? el("datalist", { id: `${id}-known` },
        field.known.map((each) => el("option", { value: each }))) : null,
      el("p", { class: "hint", id: `${id}-hint` }, hint), error,
    );
  }

  /** Forget what was wrong. */
  clear() {
    this._general.hidden = true;
    for (const { control, error } of this._shown.values()) {
      error.hidden = true;
      control.removeAttribute("aria-invalid");
    }
  }

  /**
   * @param {string} name of a field; where it is none of these, it is said of the form
   * @param {string} reason
   */
  wrong(name, reason) {
    const shown = this._shown.get(name);
    const place = shown?.error ?? this._general;
    place.textContent = shown || name === "$" ? reason : `${name}: ${reason}`;
    place.hidden = false;
    if (shown) {
      if (!this.root.querySelector("[aria-invalid]")) shown.control.focus();
      shown.control.setAttribute("aria-invalid", "true");
    }
  }

  /**
   * Show what the API says of the fields.
   * @param {unknown} error
   */
  refused(error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.errors.length === 0) this.wrong("$", error.message);
    for (const { path, reason } of error.errors) {
      const [name] = path.replace(/^\$\.?/, "").split(/[.[]/);
      this.wrong(this._shown.has(name) ? name : path, reason);
    }
  }

  /**
   * Return what is given as the text of a JSON object, or null where a field cannot be one.
   * Payloads go in as they were typed: numbers too long for a browser's arithmetic stay whole.
   * @param {object} [options]
   * @param {boolean} [options.changed] only what is not as it was
   * @param {string[]} [options.without]
   * @returns {string | null}
   */
  body({ changed = false, without = [] } = {}) {
    this.clear();
    /** @type {string[]} */
    const members = [];
    let good = true;
    for (const [name, { field, control, first }] of this._shown) {
      const value = control.value.trim();
      if (without.includes(name) || (changed && control.value === first)) continue;
      if (control instanceof HTMLInputElement && control.validity.badInput) {
        this.wrong(name, field.sort === "time" ? "this is no whole time" : "this is no number");
        good = false;
      } else if (value === "") {
        if (!field.required) continue;
        this.wrong(name, "this is required");
        good = false;
      } else {
        try {
          const json = control.value === first && field.sort === "time"
            ? JSON.stringify(field.value) // the field shows no fractions of seconds
            : jsonOf(field, value, this._local);
          members.push(`${JSON.stringify(name)}:${json}`);
        } catch (error) {
          this.wrong(name, field.sort === "json"
            ? `this is no JSON: ${error instanceof Error ? error.message : error}`
            : "this is no time");
          good = false;
        }
      }
    }
    return good ? `{${members.join(",")}}` : null;
  }

  /** @param {string} name */
  value(name) {
    return this._shown.get(name)?.control.value.trim() ?? "";
  }
}

/**
 * @param {Field} field
 * @param {string} value
 * @param {boolean} local
 */
function jsonOf(field, value, local) {
  switch (field.sort) {
    case "json":
      JSON.parse(value);
      return value;
    case "number":
      return String(Number(value));
    case "time":
      return JSON.stringify(fromField(value, local));
    case "names":
      return JSON.stringify(value.split(/[\s,]+/).filter(Boolean));
    default:
      return JSON.stringify(value);
  }
}

/**
 * @param {Field} field
 * @param {string} id
 * @returns {Control}
 */
function controlOf({ sort, value = "", choices = [], known, required }, id) {
  const common = { id, "aria-required": required && "true" };
  if (sort === "choice") {
    const select = el("select", common, choices.map(([each, text]) =>
      el("option", { value: each, selected: each === value }, text)));
    return /** @type {HTMLSelectElement} */ (select);
  }
  if (sort === "json") {
    const area = el("textarea", { ...common, rows: 6, spellcheck: "false", value });
    return /** @type {HTMLTextAreaElement} */ (area);
  }
  const type = { text: "text", number: "number", time: "datetime-local", names: "text" }[sort];
  const input = el("input", {
    ...common, type, step: sort === "time" ? "1" : sort === "number" ? "any" : null,
    list: known && `${id}-known`, autocomplete: "off", spellcheck: "false",
    value: sort === "time" ? toField(value) : value,
  });
  return /** @type {HTMLInputElement} */ (input);
}
