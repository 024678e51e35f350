// @ts-check
/** The page around the views: which one is shown, and what is said above all of them. */

import { ApiError, connect, keyInUse, useKey } from "./api.js";
import { askForKey } from "./dialogs.js";
import { el, fill, known } from "./dom.js";
import { banner, forget } from "./messages.js";
import { Refresher } from "./refresher.js";
import { here } from "./router.js";
import { isLocal, switchClock, tick } from "./time.js";
import { refusal } from "./widgets.js";
import { auditView } from "./views/audit.js";
import { newTaskView } from "./views/new-task.js";
import { overviewView } from "./views/overview.js";
import { queuesView } from "./views/queues.js";
import { schedulesView } from "./views/schedules.js";
import { taskView } from "./views/task.js";
import { tasksView } from "./views/tasks.js";
import { workersView } from "./views/workers.js";

/**
 * @typedef {object} View
 * @property {string} title
 * @property {Node} root
 * @property {(signal: AbortSignal) => Promise<void>} [load]
 * @property {() => number} [every] in how many milliseconds it is loaded again; 0: not at all
 * @property {import("./dom.js").Children} [beside] what stands to the right of the title
 */

/** @typedef {(place: import("./router.js").Place, refresh: () => Promise<void>) => View} Make */

/** @type {[string, string, Make][]} */
const VIEWS = [
  ["", "Overview", overviewView],
  ["tasks", "Tasks", tasksView],
  ["queues", "Queues", queuesView],
  ["schedules", "Schedules", schedulesView],
  ["workers", "Workers", workersView],
  ["audit", "Audit", auditView],
  ["new", "New task", newTaskView],
];
const TICK_MS = 1_000;

/** @type {Refresher | null} */
let refresher = null;

/** Show the view that the address names. */
function show() {
  const place = here();
  const [first = "", second] = place.path;
  const entry = VIEWS.find(([name]) => name === first);
  const make = first === "tasks" && second ? taskView : entry?.[2];
  const focused = document.activeElement;
  const key = focused instanceof HTMLElement ? focused.dataset.key : undefined;
  refresher?.end();
  refresher = null;
  forget();
  banner(null);
  leaveDialogs();
  for (const each of known("nav").children) {
    const current = each.getAttribute("href") === `#/${first}`;
    if (!current) {
      each.removeAttribute("aria-current");
      continue;
    }
    each.setAttribute("aria-current", "page");
    each.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  if (!make) {
    fill(known("view"), el("h1", { tabindex: -1 }, "There is no such view"));
    return;
  }
  const trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  const view = make(place, async () => refresher?.now());
  const heading = el("h1", { tabindex: -1 }, view.title);
  document.title = `${view.title} · taskscheduler`;
  fill(known("view"), el("div", { class: "title" }, heading, view.beside), trouble, view.root);
  window.scrollTo(0, 0);
  // Who changes a filter goes on changing filters; who comes from elsewhere begins at the top.
  const again = key && known("view").querySelector(`[data-key="${CSS.escape(key)}"]`);
  (again instanceof HTMLElement ? again : heading).focus({ preventScroll: true });
  const { load } = view;
  if (!load) return;
  refresher = new Refresher(
    async (signal) => {
      await load(signal);
      unfilled(view.root, false);
      trouble.hidden = true;
      banner(null);
    },
    view.every ?? (() => 0),
    (error) => {
      // Of what passes the banner tells, and what was there before is left in its place.
      const passes = error instanceof ApiError && error.passes;
      banner(passes ? `${capital(refusal(error))}. This page keeps trying.` : null);
      if (!passes) unfilled(view.root, true);
      trouble.hidden = passes;
      trouble.textContent = passes ? "" : refusal(error);
    },
  );
  refresher.now();
}

/**
 * Hide what has never been filled, or show it again: nothing is loading any more.
 * @param {Node} root
 * @param {boolean} hidden
 */
function unfilled(root, hidden) {
  if (!(root instanceof HTMLElement)) return;
  const which = hidden ? ".panel:has(> .body > .loading)" : ".panel[data-unfilled]";
  for (const each of root.querySelectorAll(which)) {
    if (each instanceof HTMLElement) {
      each.classList.toggle("unfilled", hidden);
      if (hidden) each.dataset.unfilled = "";
      else delete each.dataset.unfilled;
    }
  }
}

/** Who goes elsewhere has left a dialog that was about this view; one for a key is about all. */
function leaveDialogs() {
  for (const each of document.querySelectorAll("dialog:not(:has(#key-field))")) {
    /** @type {HTMLDialogElement} */ (each).close();
  }
}

function nameKey() {
  known("key").classList.toggle("set", keyInUse() !== null);
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/; try again$/, "");
}

function nameClock() {
  const clock = known("clock");
  clock.textContent = isLocal() ? "Local time" : "UTC";
  clock.title = isLocal() ? "Show exact times in UTC" : "Show exact times as clocks here do";
}

connect((why) => askForKey(why), nameKey);
fill(known("nav"), VIEWS.map(([name, title]) => el("a", { href: `#/${name}` }, title)));
known("clock").addEventListener("click", () => {
  switchClock();
  nameClock();
});
known("key").addEventListener("click", async () => {
  const why = "Which key is this page to call the API with? With none here, it calls without.";
  const key = await askForKey(why, { orNone: true });
  if (key !== null) {
    useKey(key);
    show();
  }
});
known("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment is the view's
  known("view").focus();
});
nameClock();
nameKey();
window.addEventListener("hashchange", show);
setInterval(() => {
  if (!document.hidden) tick();
}, TICK_MS);
show();
