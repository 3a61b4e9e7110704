// The relay over HTTP: addresses, the token, and failures as errors.

import { RelayError } from './errors.js';

/**
 * @typedef {ReturnType<typeof createApi>} Api
 * @typedef {{ body?: object, signal?: AbortSignal, keepalive?: boolean }} Call
 */

/**
 * @param {string} base
 * @param {import('./x0-relay.d.ts').TokenSource | undefined} source
 * @param {typeof globalThis.fetch} fetch
 */
export function createApi(base, source, fetch) {
  const renewable = typeof source === 'function';
  /** @type {Promise<string | null | undefined> | undefined} */
  let known;

  /** The token is no good any more. */
  const spoil = () => {
    known = undefined;
  };

  /** The token; asked for once, until it is spoilt. */
  const token = () =>
    (known ??= (async () => (renewable ? source() : source))().catch((cause) => {
      spoil();
      throw new RelayError('token', { cause });
    }));

  /** @param {string} path @param {Record<string, unknown>} query */
  const address = (path, query) =>
    // As JSON, it is without members that are undefined.
    `${base}/v1/${path}?${new URLSearchParams(JSON.parse(JSON.stringify(query)))}`;

  /**
   * The answer, if it is a good one: a POST if there is a body.
   *
   * The body goes as plain text, which the relay reads as JSON: browsers send that to another origin without asking first.
   *
   * @param {string} path @param {Call} call @param {Record<string, unknown>} [query] @param {boolean} [again] with another token
   * @returns {Promise<Response>}
   */
  const call = async (path, { body, ...init }, query = {}, again = false) => {
    const asked = token();
    const shown = await asked;
    const response = await fetch(address(path, query), {
      ...init,
      method: body ? 'POST' : 'GET',
      body: body && JSON.stringify(body),
      cache: 'no-store',
      headers: shown ? { Authorization: `Bearer ${shown}` } : {},
    });
    const { ok, status, headers } = response;
    if (ok) return response;
    if (status === 401) {
      // Unless somebody has asked for the next one meanwhile.
      if (known === asked) spoil();
      if (renewable && !again && shown !== (await token())) return call(path, { body, ...init }, query, true);
    }
    const after = headers.get('retry-after') ?? 0;
    const retryAfter = (+after >= 0 ? +after * 1000 : Date.parse(`${after}`) - Date.now()) || undefined;
    throw refusal({ ...(await response.json().catch(() => undefined)), status }, retryAfter);
  };

  return {
    renewable, token, spoil, address, call,
    /** What stands for the token where no header can be set. @param {string} session @param {AbortSignal} signal */
    async ticket(session, signal) {
      if (!(await token())) return;
      try {
        return (await (await call('tickets', { body: { session }, signal })).json()).ticket;
      } catch (error) {
        // A relay that has no tickets asks for none.
        if (![404, 405].includes(/** @type {any} */ (error).status)) throw error;
      }
    },
  };
}

/** What the relay says when it refuses. @param {any} said @param {number} [retryAfter] */
export const refusal = (said, retryAfter) =>
  new RelayError('refused', { ...said, retryAfter }, said.detail ?? said.title ?? `status ${said.status}`);
