// The clock, waiting, and how long to wait before trying again.

const FIRST_MS = 500;
const MOST_MS = 30_000;

let latest = 0;

/**
 * The time in milliseconds since 1970, but never going back, as the wall's clock may. It counts while the machine sleeps.
 *
 * @param {number} [known] it is this late at least
 */
export const now = (known = 0) => (latest = Math.max(latest, known, Date.now()));

/** @param {number} ms @returns {Promise<void>} */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Full jitter: anything from nothing to a bound that doubles with each failure, so that clients that were cut at the
 * same moment do not come back at the same moment.
 *
 * @param {number} failures how many there have been before
 */
export const backoff = (failures) => Math.random() * Math.min(MOST_MS, FIRST_MS * 2 ** failures);
