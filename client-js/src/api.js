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

  /** The token; asked for once, until it is spoilt. */
  const token = async () => {
    try {
      return await (known ??= (async () => (renewable ? source() : source))());
    } catch (cause) {
      spoil();
      throw new RelayError('token', 'the token callback failed', { cause });
    }
  };

  /** The token is no good any more. */
  const spoil = () => {
    known = undefined;
  };

  /** @param {string} path @param {Record<string, unknown>} query */
  const url = (path, query) =>
    // As JSON, it is without members that are undefined.
    `${base}/v1/${path}?${new URLSearchParams(JSON.parse(JSON.stringify(query)))}`;

  /**
   * The answer, if it is a good one: a POST if there is a body.
   *
   * The body goes as plain text, which the relay reads as JSON: browsers send that to another origin without asking first.
   *
   * @param {string} path @param {Call} call @param {Record<string, unknown>} [query]
   */
  const call = async (path, { body, ...init }, query = {}) => {
    const shown = await token();
    const response = await fetch(url(path, query), {
      ...init,
      method: body ? 'POST' : 'GET',
      body: body && JSON.stringify(body),
      cache: 'no-store',
      headers: shown ? { Authorization: `Bearer ${shown}` } : {},
    });
    const { ok, status, headers } = response;
    if (ok) return response;
    if (status === 401) spoil();
    const after = headers.get('retry-after') ?? 0;
    const retryAfter = (+after >= 0 ? +after * 1000 : Date.parse(`${after}`) - Date.now()) || undefined;
    throw refusal({ ...(await response.json().catch(() => undefined)), status }, retryAfter);
  };

  return {
    renewable, token, spoil, url, call,
    /** What stands for the token where no header can be set. @param {string} session @param {AbortSignal} signal */
    async ticket(session, signal) {
      if (!(await token())) return;
      const answer = call('tickets', { body: { session }, signal }).then((response) => response.json());
      const { ticket } = await answer.catch((error) => {
        // A relay that has no tickets asks for none.
        if ([404, 405].includes(error.status)) return {};
        throw error;
      });
      return ticket;
    },
  };
}

/** What the relay says when it refuses. @param {any} said @param {number} [retryAfter] */
export const refusal = ({ status, kind, title, detail, addresses }, retryAfter) =>
  new RelayError('refused', detail ?? title ?? `status ${status}`, { status, kind, addresses, retryAfter });
