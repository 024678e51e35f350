// @ts-check
/**
 * Asking again and again: one round at a time, none while nobody looks, and after what passes by
 * itself (the database away, too many calls) soon again, however seldom it would be asked else.
 */

import { ApiError } from "./api.js";

const AGAIN_MS = 3_000;
const REFUSED_MS = 30_000;

export class Refresher {
  /**
   * @param {(signal: AbortSignal) => Promise<void>} load
   * @param {() => number} everyMs how long to wait for the next round; 0: there is none
   * @param {(error: unknown) => void} failed
   */
  constructor(load, everyMs, failed) {
    this._load = load;
    this._everyMs = everyMs;
    this._failed = failed;
    this._timer = 0;
    this._due = false;
    this._ended = false;
    this._round = new AbortController();
    this._onVisible = () => {
      if (!document.hidden && this._due) this.now();
    };
    document.addEventListener("visibilitychange", this._onVisible);
  }

  /** Ask now. A round that is under way is given up: it may not know what was just done. */
  async now() {
    if (this._ended) return;
    clearTimeout(this._timer);
    this._due = false;
    this._round.abort();
    const { signal } = (this._round = new AbortController());
    let waitMs = 0;
    try {
      await this._load(signal);
      waitMs = this._everyMs();
    } catch (error) {
      if (signal.aborted) return;
      this._failed(error);
      if (error instanceof ApiError && error.passes) {
        waitMs = Math.max(error.retryAfter * 1000, AGAIN_MS);
      } else if (this._everyMs() > 0) {
        waitMs = REFUSED_MS; // each refusal is a line in the service's log
      }
    }
    if (waitMs === 0 || signal.aborted) return;
    this._timer = window.setTimeout(() => {
      this._due = true;
      this._onVisible();
    }, waitMs);
  }

  /** Ask no more. */
  end() {
    this._ended = true;
    this._round.abort();
    clearTimeout(this._timer);
    document.removeEventListener("visibilitychange", this._onVisible);
  }
}
