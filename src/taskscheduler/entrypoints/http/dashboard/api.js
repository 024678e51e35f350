// @ts-check
/**
 * Calling the API. Addresses are relative to the page, so that it works under any path behind a
 * proxy. The key stays in this tab's session storage: no other tab has it, and closing the tab
 * forgets it.
 */

const KEY = "taskscheduler.key";
const PATIENCE_MS = 20_000;

/** What the API refused, or why it could not be asked (status 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   * @param {{errors?: {path: string, reason: string}[], retryAfter?: number}} [more]
   */
  constructor(status, detail, { errors = [], retryAfter = 0 } = {}) {
    super(detail);
    this.status = status;
    this.errors = errors;
    this.retryAfter = retryAfter;
  }

  /** Whether it may well be answered if asked again. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 502;
  }
}

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {any} data
 * @property {string} text the body as it came
 * @property {string | null} etag
 * @property {string | null} next the cursor of the next page
 */

/** @typedef {(why: string) => Promise<string | null>} AskForKey */

/** @type {AskForKey} */
let askForKey = async () => null;
/** @type {Promise<string | null> | null} */
let asking = null;
let declined = false;
let keyChanged = () => {};

/**
 * Say how to ask for a key, and whom to tell when another is in use.
 * @param {AskForKey} ask
 * @param {() => void} changed
 */
export function connect(ask, changed) {
  askForKey = ask;
  keyChanged = changed;
}

/** @returns {string | null} */
export function keyInUse() {
  return sessionStorage.getItem(KEY);
}

/** @param {string | null} key */
export function useKey(key) {
  declined = false;
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  keyChanged();
}

/**
 * Call the API. Where it asks for a key, so does this, and then calls again.
 * @param {string} method
 * @param {string} path relative, without a slash in front
 * @param {{query?: [string, string][], body?: string, headers?: Record<string, string>,
 *          signal?: AbortSignal, also?: number[]}} [options] `also`: statuses that are no error
 * @returns {Promise<Answer>}
 */
export async function call(method, path, options = {}) {
  for (;;) {
    const key = keyInUse();
    try {
      return await once(method, path, options, key);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401 || declined) throw error;
      // Another call may have been given a key meanwhile; if not, all wait for one answer.
      if (key !== keyInUse()) continue;
      asking ??= askForKey(error.message).finally(() => { asking = null; });
      const given = await asking;
      if (given === null) {
        declined = true;
        throw error;
      }
      useKey(given);
    }
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {Parameters<typeof call>[2] & {}} options
 * @param {string | null} key
 * @returns {Promise<Answer>}
 */
async function once(method, path, { query = [], body, headers = {}, signal, also = [] }, key) {
  const address = new URL(path, document.baseURI);
  address.hash = "";
  address.search = new URLSearchParams(query).toString();
  /** @type {Record<string, string>} */
  const sent = { Accept: "application/json, application/problem+json", ...headers };
  if (key !== null) sent.Authorization = `Bearer ${key}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const patience = AbortSignal.timeout(PATIENCE_MS);
  let response, text;
  try {
    response = await fetch(address, {
      method, body, headers: sent, cache: "no-store", credentials: "same-origin",
      redirect: "error", signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (error instanceof TypeError && key !== null && !/^[\x21-\x7e]+$/.test(key)) {
      throw new ApiError(401, "the key has characters that no key has");
    }
    throw new ApiError(0, "the service cannot be reached");
  }
  const data = parsed(text);
  if (!response.ok && !also.includes(response.status)) {
    const retryAfter = Number(response.headers.get("Retry-After")) || 0;
    const detail = data?.detail ?? `the answer was ${response.status} ${response.statusText}`;
    throw new ApiError(response.status, String(detail), { errors: data?.errors, retryAfter });
  }
  return {
    status: response.status, data, text,
    // A proxy that compresses makes the tag weak, and the API compares strong ones.
    etag: response.headers.get("ETag")?.replace(/^W\//, "") ?? null,
    next: nextCursor(response.headers.get("Link")),
  };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a proxy's own page, or no body at all
  }
}

/**
 * Return the cursor alone: the address in the header is as the service sees itself, which behind
 * a proxy need not be as it is seen from here.
 * @param {string | null} link
 * @returns {string | null}
 */
function nextCursor(link) {
  const found = /<([^>]*)>;\s*rel="next"/.exec(link ?? "");
  return found ? new URL(found[1], document.baseURI).searchParams.get("cursor") : null;
}

/**
 * @param {string} path
 * @param {[string, string][]} [query]
 * @param {AbortSignal} [signal]
 */
export function get(path, query = [], signal = undefined) {
  return call("GET", path, { query, signal });
}

/**
 * @param {string} path
 * @param {[string, string][]} [query]
 */
export function post(path, query = []) {
  return call("POST", path, { query });
}

/** @param {string} text a name or an id, to be part of a path */
export function part(text) {
  return encodeURIComponent(text);
}
