// @ts-check
/** A form that makes a schedule, or puts another in its place. */

import { ApiError, call, get, part } from "../api.js";
import { dialog } from "../dialogs.js";
import { Fields } from "../form.js";
import { say } from "../messages.js";

const KEPT = ["crons", "except"];

/**
 * @param {any | null} schedule the one to change; null for a new one
 * @returns {Promise<true | null>} null if nothing was changed
 */
export async function editSchedule(schedule) {
  const fields = new Fields(fieldsOf(schedule ?? {}, schedule === null));

  async function submit() {
    const given = fields.body({ without: ["name"] });
    const body = given && withKept(given, schedule ?? {});
    const name = schedule === null ? fields.value("name") : schedule.name;
    if (!name) fields.wrong("name", "this is required");
    if (!name || body === null) return undefined;
    try {
      // To put one in the place of another is not what a new one is for.
      if (schedule === null && (await exists(name))) {
        fields.wrong("name", "there is a schedule of this name already");
        return undefined;
      }
      await call("PUT", `schedules/${part(name)}`, { body });
      say(`Schedule ${name} is stored.`);
      return /** @type {const} */ (true);
    } catch (error) {
      fields.refused(error);
      return undefined;
    }
  }

  const title = schedule === null ? "New schedule" : `Edit the schedule ${schedule.name}`;
  return dialog(title, fields.root, { action: "Save", submit });
}

/**
 * Return the body with what the form does not show and the schedule has.
 * @param {string} body
 * @param {any} schedule
 */
function withKept(body, schedule) {
  const kept = KEPT.filter((name) => schedule[name] !== null && schedule[name] !== undefined)
    .map((name) => `${JSON.stringify(name)}:${JSON.stringify(schedule[name])}`);
  return `{${[body.slice(1, -1), ...kept].filter(Boolean).join(",")}}`;
}

/** @param {string} name */
async function exists(name) {
  try {
    await get(`schedules/${part(name)}`);
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false;
    throw error;
  }
}

/**
 * @param {any} given
 * @param {boolean} isNew
 * @returns {import("../form.js").Field[]}
 */
function fieldsOf(given, isNew) {
  /** @param {string} name */
  const value = (name) => (given[name] === null || given[name] === undefined ? "" : String(given[name]));
  /** @type {import("../form.js").Field[]} */
  const fields = [
    { name: "kind", label: "Kind", sort: "text", required: true },
    { name: "cron", label: "Cron expression", sort: "text", hint: "such as 0 3 * * *" },
    { name: "rrule", label: "Or: recurrence rule", sort: "text", hint: "such as FREQ=WEEKLY;BYDAY=MO" },
    { name: "every_s", label: "Or: every … seconds", sort: "number" },
    { name: "time_zone", label: "Time zone", sort: "text", hint: "such as Europe/Berlin; empty: UTC" },
    { name: "queue", label: "Queue", sort: "text", hint: "empty: default" },
    { name: "group", label: "Group", sort: "text", hint: "whose its tasks are" },
    { name: "priority", label: "Priority", sort: "number", hint: "0, the most urgent, to 9" },
    { name: "starts_at", label: "Starts", sort: "time" },
    { name: "ends_at", label: "Ends", sort: "time" },
    {
      name: "catch_up", label: "Fires that were missed", sort: "choice",
      choices: [["latest", "store a task for the last"], ["all", "store each"], ["none", "store none"]],
    },
    {
      name: "overlap", label: "While the last task runs", sort: "choice",
      choices: [["allow", "store the next all the same"], ["skip", "store nothing"],
        ["buffer_one", "let one fire wait"], ["buffer_all", "let all fires wait"],
        ["cancel_running", "cancel it"]],
    },
    {
      name: "gap", label: "Times that clocks leave out", sort: "choice",
      choices: [["", "as the expression says"], ["after", "fire right after"], ["skip", "do not fire"]],
    },
    {
      name: "fold", label: "Times that clocks show twice", sort: "choice",
      choices: [["", "as the expression says"], ["first", "the first time"],
        ["second", "the second time"], ["both", "both times"]],
    },
    { name: "jitter_s", label: "Later by up to … seconds", sort: "number" },
    { name: "max_fires", label: "Ends with so many tasks", sort: "number" },
    { name: "catch_up_window_s", label: "Let go of what is later than … seconds", sort: "number" },
    { name: "catch_up_max", label: "Catch up with so many at most", sort: "number" },
    { name: "pause_after_failures", label: "Pause after so many failures", sort: "number" },
    { name: "max_attempts", label: "Attempts at most", sort: "number" },
    { name: "timeout_s", label: "Time-out in seconds", sort: "number" },
    { name: "tags", label: "Tags", sort: "names", hint: "up to 10 names, with blanks between" },
    { name: "payload", label: "Payload", sort: "json", hint: "any JSON; empty: null" },
  ];
  const name = /** @type {import("../form.js").Field} */ (
    { name: "name", label: "Name", sort: "text", required: true });
  const filled = fields.map((each) =>
    ({ ...each, value: each.name === "payload" ? (given.exact ?? "") : value(each.name) }));
  return isNew ? [name, ...filled] : filled;
}
