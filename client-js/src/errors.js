// What the client reports when something fails.

/**
 * @typedef {import('./x0-relay.d.ts').RelayErrorCode} Code
 * @typedef {import('./x0-relay.d.ts').RelayError} Told
 * @typedef {Partial<Pick<Told, 'cause' | 'status' | 'kind' | 'addresses' | 'retryAfter' | 'sent' | 'received' | 'final'>>} Details
 * @typedef {new (code: Code, details?: Details, message?: string) => Told} Class
 */

class Failure extends Error {
  /** @param {Code} code @param {Details} [details] @param {string} [message] in the place of the cause's */
  constructor(code, details, message = `${code}: ${details?.cause}`) {
    super(message);
    Object.assign(this, details, { name: 'RelayError', code });
  }
}

/** Its members are those of the published types. */
export const RelayError = /** @type {Class} */ (/** @type {unknown} */ (Failure));
