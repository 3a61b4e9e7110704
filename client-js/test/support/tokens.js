// Credentials as a back end makes them (docs/security.md): tokens signed with HS256, and signed sessions.

import { createHmac } from 'node:crypto';

/** A line of the relay's `jwt-keys` and `signed-keys`. */
export const SECRET = 'a secret of the tests, long enough for HS256';

/** @param {string} text */
const mac = (text) => createHmac('sha256', SECRET).update(text).digest('base64url');
/** @param {unknown} value */
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);

/** A token of ann's for as many seconds; the relay grants ten more. @param {number} seconds @param {object} [claims] */
export function token(seconds, claims = {}) {
  const body = { sub: 'ann', aud: 'x0-relay', exp: now() + seconds, receive: ['ann-*'], send: ['*'], ...claims };
  const text = `${encoded({ alg: 'HS256', typ: 'JWT' })}.${encoded(body)}`;
  return `${text}.${mac(text)}`;
}

/** @param {string} id @param {number} seconds */
export function signedSession(id, seconds) {
  const expiry = now() + seconds;
  return `${id}.${expiry}.${mac(`x0-relay signed session 1\n${expiry}\n${id}`)}`;
}
