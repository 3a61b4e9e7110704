// What a token or a signed session says of itself: which sessions it is for. Nothing is verified here; that is the relay's.

import { parse } from './raw.js';

const SIGNED = /^(.+)\.\d+\.[\w-]{43}$/s;
const TOKEN = /^[\w-]+\.([\w-]+)\.[\w-]+$/;

/** `{ signed }`: the one session of a signed one; `{ receive }`: the patterns of a token; or nothing. */
function read(credentials) {
  const signed = SIGNED.exec(credentials)?.[1];
  if (signed !== undefined) return { signed };
  const claims = TOKEN.exec(credentials)?.[1];
  const receive = claims && parse(decoded(claims))?.receive;
  return receive ? { receive: [receive].flat().map((pattern) => `${pattern}`.replace(/^session:/, '')) } : {};
}

function decoded(base64url) {
  try {
    const bytes = Uint8Array.from(atob(base64url.replaceAll('-', '+').replaceAll('_', '/')), (character) => character.codePointAt(0));
    return new TextDecoder().decode(bytes);
  } catch {
    return '';
  }
}

const allows = (pattern, session) => (pattern.endsWith('*') ? session.startsWith(pattern.slice(0, -1)) : session === pattern);

/** Whether they are a signed session. */
export const isSigned = (credentials) => read(credentials).signed !== undefined;

/** A session nobody has, beginning as they demand and ending so; undefined if they are for certain sessions alone. */
export function inventedFor(credentials, name) {
  const { signed, receive = ['*'] } = read(credentials);
  const free = receive.find((pattern) => pattern.endsWith('*'));
  return signed === undefined && free !== undefined ? free.slice(0, -1) + name : undefined;
}

/** The session to use with them: `wanted`, if they are for it as far as can be told, or one that they are for. */
export function sessionFor(credentials, wanted) {
  const { signed, receive } = read(credentials);
  if (signed !== undefined) return signed;
  if (receive === undefined || receive.length === 0 || receive.some((pattern) => allows(pattern, wanted))) return wanted;
  const [first] = receive;
  return first.endsWith('*') ? first.slice(0, -1) + wanted : first;
}
