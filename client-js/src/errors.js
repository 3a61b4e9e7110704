// What the client reports when something fails.

/**
 * @typedef {import('./x0-relay.d.ts').RelayErrorCode} Code
 * @typedef {import('./x0-relay.d.ts').RelayError} Told
 * @typedef {Partial<Pick<Told, 'cause' | 'status' | 'kind' | 'addresses' | 'retryAfter' | 'sent' | 'received' | 'final'>>} Details
 * @typedef {new (code: Code, message: string, details?: Details) => Told} Class
 */

class Failure extends Error {
  /** @param {Code} code @param {string} message @param {Details} [details] */
  constructor(code, message, details) {
    super(message);
    Object.assign(this, details, { name: 'RelayError', code });
  }
}

/** Its members are those of the published types. */
export const RelayError = /** @type {Class} */ (/** @type {unknown} */ (Failure));
