// @ts-check
/**
 * Payloads as they are stored. A browser reads 12345678901234567890 as 12345678901234567000, and
 * who then edits the payload would store that. Numbers that would not survive are kept as text.
 */

/**
 * @param {string} text JSON
 * @returns {any} as of `JSON.parse`; only to be looked through for payloads, and written as JSON
 */
export function exactly(text) {
  const { rawJSON } = /** @type {{rawJSON?: (text: string) => unknown}} */ (
    /** @type {unknown} */ (JSON));
  if (rawJSON === undefined) return JSON.parse(text);
  /** @type {(key: string, value: unknown, context?: {source?: string}) => unknown} */
  const keep = (_key, value, context) =>
    typeof value === "number" && context?.source && String(value) !== context.source
      ? rawJSON(context.source) : value;
  return JSON.parse(text, keep);
}

/** @param {unknown} payload */
export function pretty(payload) {
  return JSON.stringify(payload, null, 2) ?? "null";
}
