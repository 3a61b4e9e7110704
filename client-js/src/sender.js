// Sending: the outbox over the WebSocket or by POST, and the promises of those who wait.

import { refusal } from './api.js';
import { RelayError } from './errors.js';
import { createOutbox } from './outbox.js';
import { now } from './time.js';

/** An answer that takes longer will not come. */
const ANSWER_MS = 30_000;

/**
 * @typedef {import('./outbox.js').Entry} Entry
 * @typedef {import('./errors.js').Told} Told
 * @typedef {import('./x0-relay.d.ts').Sent} Sent
 * @typedef {{ send?: (frame: object) => void }} Link
 */

/** @param {import('./x0-relay.d.ts').Options} options @param {import('./relay.js').House} house */
export function createSender({ session, from = session, queue = 256, patience = 60_000 }, house) {
  const { api, entries, emit, signal } = house;
  const outbox = createOutbox(entries, patience, api.renewable);
  let refs = 0;

  /** @param {Entry | undefined} entry @param {Sent} sent */
  const accepted = (entry, sent) => {
    if (entry) outbox.remove(entry);
    entry?.settle?.[0](sent);
  };

  /** @param {Entry} entry @param {Told} error */
  const failed = (entry, error) => {
    /** @type {any} */ (error).sent = entry.draft;
    outbox.remove(entry);
    if (entry.settle) entry.settle[1](error);
    else emit('error', error);
    // It may have held up another one.
    house.changed();
  };

  /** @param {Entry} entry @param {Told} error */
  const refused = (entry, error) => outbox.refused(entry, error, now()) && failed(entry, error);

  /** What a frame of the WebSocket answers. @param {string | undefined} ref */
  const find = (ref) => entries.find((entry) => ref && entry.ref === ref);

  /** @param {Entry} entry */
  const post = async (entry) => {
    try {
      const response = await api.call('messages', { body: entry.draft, signal: AbortSignal.timeout(ANSWER_MS) });
      const sent = await response.json();
      if (!sent.id) throw Error();
      accepted(entry, sent);
    } catch (cause) {
      const error = /** @type {Told} */ (cause);
      if (error.code === 'refused') refused(entry, error);
      else outbox.lost(entry, now());
      if (error.code === 'token') emit('error', error);
    }
    house.changed();
  };

  return {
    /** @param {any} frame */
    accepted: ({ type, ref, ...sent }) => accepted(find(ref), sent),

    /**
     * @param {string | readonly string[]} to @param {unknown} payload @param {import('./x0-relay.d.ts').SendOptions} options
     * @returns {Promise<Sent>}
     */
    async send(to, payload, { type, ttl, key = randomKey() } = {}) {
      const addresses = [to].flat().map((address) => (address.includes(':') ? address : `session:${address}`));
      // As it is now, whatever becomes of it; and with an error if JSON cannot say it.
      const draft = { to: addresses, payload: JSON.parse(JSON.stringify(payload)), from, type, ttl, key };
      if (signal.aborted) throw new RelayError('closed', {}, 'the client is closed');
      if (entries.length >= queue) throw new RelayError('queue_full', {}, 'too many messages wait to be sent');
      return new Promise((...settle) => {
        entries.push({ draft, settle });
        house.changed();
      });
    },

    /** Sends what can be sent. */
    flush() {
      if (signal.aborted) return;
      const link = house.receiver.socket();
      for (const entry of house.receiver.machine.reachable ? outbox.take(now(), link) : []) {
        if (outbox.isStale(entry, now())) {
          failed(entry, new RelayError('uncertain', {}, 'it may have been accepted, or not'));
        } else if (link && entry.via === 'websocket') {
          const { type: message_type, ...draft } = entry.draft;
          entry.ref = `${++refs}`;
          link.send?.({ ...draft, type: 'send', message_type, ref: entry.ref });
        } else post(entry);
      }
    },

    /** When to look next. */
    due: () => (house.receiver.machine.reachable ? outbox.due(now()) : Infinity),

    /** @param {any} frame */
    refused(frame) {
      const entry = find(frame.ref);
      if (entry?.via === 'websocket') refused(entry, refusal(frame));
      else emit('error', refusal(frame));
    },

    /** The WebSocket is gone: no answer comes any more. */
    cut() {
      for (const entry of entries) if (entry.via === 'websocket') outbox.lost(entry, now());
    },

    close() {
      for (const { settle } of entries) settle?.[1](new RelayError('closed', {}, 'the client is closed'));
    },
  };
}

/** Not `randomUUID`, which pages have over HTTPS only. */
const randomKey = () => crypto.getRandomValues(new Uint8Array(16)).join('-');
