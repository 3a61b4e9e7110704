// What is to be sent and is not yet accepted. Pure: entries in, what to send now out.
//
// The relay accepts a key once within ten minutes, so an entry may be sent again as long as that. Messages to one
// address are sent in the order in which they were given: over a WebSocket, which keeps it, without waiting for answers;
// over HTTP one after the other.

import { backoff } from './time.js';

/** What may have arrived can be sent again for so long: a minute less than the relay knows its key. */
const KEY_MS = 540_000;
/** After so many failures the pause grows no more: what is sent goes to where something is received from. */
const FAILURES_MOST = 3;
/** Statuses that may be others soon, beside those from 500 on: too slow, too many; and where there may be another token. */
const PASSING = [408, 429];
const UNAUTHORIZED = 401;
const MAILBOX_FULL = 507;

/**
 * @typedef {import('./errors.js').Told} Told
 * @typedef {import('./x0-relay.d.ts').Sent} Sent
 * @typedef {{ to: string[], payload: unknown, from: string, type?: string, ttl?: number, key: string }} Draft
 * @typedef {{ draft: Draft, since?: number }} Kept  `since`: since then it may have arrived
 * @typedef {Kept & { via?: 'websocket' | 'post', ref?: string, postOnly?: boolean, refusedSince?: number, notBefore?: number,
 *   settle?: [(sent: Sent) => void, (error: Told) => void] }} Entry
 *   `via`: it is under way; `ref`: its name on the WebSocket
 */

/** @param {Entry[]} entries @param {number} patience with refusals that may end @param {boolean} renewable the token */
export function createOutbox(entries, patience, renewable) {
  let failures = 0;
  let pausedUntil = 0;
  const pause = () => backoff(Math.min(failures++, FAILURES_MOST));

  return {

    /** What to send now; from here it is under way. @param {number} now @param {unknown} socket whether a WebSocket is there */
    take(now, socket) {
      /** @type {Entry[]} */
      const taken = [];
      /** @type {Set<string>} addresses to which nothing may follow; and those to which something may, by WebSocket */
      const waiting = new Set();
      /** @type {Set<string>} */
      const riding = new Set();
      let posting = entries.some(({ via }) => via === 'post');
      for (const entry of now < pausedUntil ? [] : entries) {
        const { to } = entry.draft;
        if (!entry.via && now >= (entry.notBefore ?? 0) && !to.some((address) => waiting.has(address))) {
          if (socket && !entry.postOnly) entry.via = 'websocket';
          else if (!posting && !to.some((address) => riding.has(address))) {
            posting = true;
            entry.via = 'post';
          }
          if (entry.via) {
            entry.since ??= now;
            taken.push(entry);
          }
        }
        for (const address of to) (entry.via === 'websocket' ? riding : waiting).add(address);
      }
      return taken;
    },

    /** Whether to send it could double it. @param {Entry} entry @param {number} now */
    isStale: ({ since = Infinity }, now) => now >= since + KEY_MS,

    /** It is accepted, or given up. @param {Entry} entry */
    remove(entry) {
      // What is not there any more has place -1, which is no place so.
      entries.splice(entries.indexOf(entry) >>> 0, 1);
      failures = 0;
    },

    /** There is no answer. @param {Entry} entry @param {number} now */
    lost(entry, now) {
      if (entry.via === 'post') pausedUntil = now + pause();
      // By HTTP, a relay that refuses it can say so.
      entry.postOnly = true;
      entry.via = undefined;
    },

    /** The relay refuses it. @param {Entry} entry @param {Told} error @param {number} now @returns {boolean} for good */
    refused(entry, { status = 0, retryAfter = 0 }, now) {
      entry.via = undefined;
      entry.refusedSince ??= now;
      const passing = status >= 500 || PASSING.includes(status) || (renewable && status === UNAUTHORIZED);
      if (!passing || now >= entry.refusedSince + patience) return true;
      entry.notBefore = now + Math.max(retryAfter, pause());
      // A full mailbox holds up its own messages only.
      if (status !== MAILBOX_FULL) pausedUntil = entry.notBefore;
      return false;
    },

    /** When to look next. @param {number} now */
    due(now) {
      const times = entries.map(({ via, notBefore = 0 }) => (via ? 0 : Math.max(notBefore, pausedUntil)));
      // What could go now, and does not, waits for another's answer.
      return Math.min(...times.filter((time) => time > now));
    },
  };
}
