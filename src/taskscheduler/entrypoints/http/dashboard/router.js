// @ts-check
/** Where one is: a path and parameters in the address's fragment, so that views can be linked. */

/** @typedef {{path: string[], query: URLSearchParams}} Place */

/** @returns {Place} */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Return the fragment of a view. Parameters without a value are left out.
 * @param {string[]} path
 * @param {Record<string, string | null | undefined>} [query]
 * @returns {string}
 */
export function to(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(/** @type {[string, string][]} */ (given)).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** @param {string} fragment */
export function go(fragment) {
  location.hash = fragment;
}
