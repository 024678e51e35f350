// @ts-check
/**
 * Making elements. Text goes in as text and nothing else: payloads, errors and names come from
 * whoever stores tasks, so there is no way in here to turn a string into markup.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Child | Child[]} Children */

/**
 * Make an element. `on…` properties are listeners, `class` and `aria-…`, `data-…` are attributes,
 * `true` is an attribute without a value, and what is null, undefined or false is left out.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...Children} children
 * @returns {HTMLElement}
 */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") {
      made.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (name === "value") {
      /** @type {HTMLInputElement} */ (made).value = String(value);
    } else {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
  made.append(...nodes(children));
  return made;
}

/**
 * @param {Children[]} children
 * @returns {(Node | string)[]}
 */
function nodes(children) {
  return children
    .flat()
    .filter((each) => each !== null && each !== undefined && each !== false)
    .map((each) => (typeof each === "number" ? String(each) : /** @type {Node | string} */ (each)));
}

/**
 * Put `children` in the place of all that `parent` has. The focus stays with what has the same
 * `data-key`: a page that refreshes itself must not throw out whoever goes through it by keyboard.
 * @param {HTMLElement} parent
 * @param {...Children} children
 */
export function fill(parent, ...children) {
  const focused = document.activeElement;
  const key = focused instanceof HTMLElement && parent.contains(focused) && focused.dataset.key;
  const open = new Set(
    [...parent.querySelectorAll("details[open][data-key]")].map((each) =>
      each instanceof HTMLElement ? each.dataset.key : ""),
  );
  parent.replaceChildren(...nodes(children));
  for (const each of parent.querySelectorAll("details[data-key]")) {
    if (each instanceof HTMLDetailsElement && open.has(each.dataset.key)) each.open = true;
  }
  if (key) {
    const again = parent.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (again instanceof HTMLElement) again.focus({ preventScroll: true });
  }
}

/**
 * Return what fills `parent`, but only with what is not there already: a refresh that brings
 * nothing new leaves selections, the scroll position and screen readers alone.
 * @param {HTMLElement} parent
 * @returns {(data: unknown, draw: () => Children) => void}
 */
export function filler(parent) {
  let before = "";
  return (data, draw) => {
    const now = JSON.stringify(data) ?? "";
    if (now === before) return;
    before = now;
    fill(parent, draw());
  };
}

/**
 * Make a button.
 * @param {string} text
 * @param {() => unknown} onclick
 * @param {Record<string, unknown>} [properties]
 * @returns {HTMLButtonElement}
 */
export function button(text, onclick, properties = {}) {
  const made = el("button", { type: "button", onclick, ...properties }, text);
  return /** @type {HTMLButtonElement} */ (made);
}

/**
 * Find what the page is known to have.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function known(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}
