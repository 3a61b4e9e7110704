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

/**
 * @param {import('./x0-relay.d.ts').Options} options
 * @param {{ api: import('./api.js').Api, entries: Entry[],
 *   emit: (name: string, event: any) => void, isClosed: () => boolean, isOpen: () => boolean,
 *   socket: () => Link | undefined, changed: () => void }} house
 *   `isOpen`: whether what is sent will arrive; `changed`: what is to be sent is other than before
 */
export function createSender({ session, from = session, queue = 256, patience = 60_000 }, house) {
  const { api, entries, emit, isClosed, isOpen, socket, changed } = house;
  const outbox = createOutbox(entries, patience);
  let refs = 0;

  /** @param {Entry | undefined} entry @param {Sent} sent */
  const accepted = (entry, { id, recipients, duplicate }) => {
    if (entry) outbox.remove(entry);
    entry?.settle?.[0]({ id, recipients, duplicate });
  };

  /** @param {Entry} entry @param {Told} error */
  const failed = (entry, error) => {
    Object.assign(error, { sent: entry.draft });
    outbox.remove(entry);
    if (entry.settle) entry.settle[1](error);
    else emit('error', error);
  };

  /** @param {Entry} entry @param {Told} error */
  const refused = (entry, error) => outbox.refused(entry, error, now()) && failed(entry, error);

  /** What a frame of the WebSocket answers. @param {{ ref?: string }} frame */
  const find = ({ ref }) => entries.find((entry) => ref && entry.ref === ref);

  /** @param {Entry} entry */
  const post = async (entry) => {
    try {
      const response = await api.call('messages', { body: entry.draft, signal: AbortSignal.timeout(ANSWER_MS) });
      accepted(entry, await response.json());
    } catch (cause) {
      const error = /** @type {Told} */ (cause);
      if (error.code === 'refused') refused(entry, error);
      else outbox.lost(entry, now());
      if (error.code === 'token') emit('error', error);
    }
    changed();
  };

  return {
    entries,
    /** @param {any} frame */
    accepted: (frame) => accepted(find(frame), frame),

    /**
     * @param {string | readonly string[]} to @param {unknown} payload @param {import('./x0-relay.d.ts').SendOptions} options
     * @returns {Promise<Sent>}
     */
    async send(to, payload, { type, ttl, key = randomKey() } = {}) {
      const addresses = [to].flat().map((address) => (address.includes(':') ? address : `session:${address}`));
      // As it is now, whatever becomes of it; and with an error if JSON cannot say it.
      const draft = { to: addresses, payload: JSON.parse(JSON.stringify(payload)), from, type, ttl, key };
      if (isClosed()) throw new RelayError('closed', 'the client is closed');
      if (entries.length >= queue) throw new RelayError('queue_full', 'too many messages wait to be sent');
      return new Promise((...settle) => {
        entries.push({ draft, settle });
        changed();
      });
    },

    /** Sends what can be sent. */
    flush() {
      if (isClosed()) return;
      const link = socket();
      for (const entry of isOpen() ? outbox.take(now(), link) : []) {
        if (outbox.isStale(entry, now())) {
          failed(entry, new RelayError('uncertain', 'it may, or may not, have been accepted'));
        } else if (link && entry.via === 'websocket') {
          const { type: message_type, ...draft } = entry.draft;
          entry.ref = `${++refs}`;
          link.send?.({ ...draft, type: 'send', message_type, ref: entry.ref });
        } else post(entry);
      }
    },

    /** When to look next. */
    due: () => (isOpen() ? outbox.due(now()) : Infinity),

    /** @param {any} frame */
    refused(frame) {
      const entry = find(frame);
      if (entry?.via === 'websocket') refused(entry, refusal(frame));
      else emit('error', refusal(frame));
    },

    /** The WebSocket is gone: no answer comes any more. */
    cut() {
      for (const entry of entries) if (entry.via === 'websocket') outbox.lost(entry, now());
    },

    close() {
      for (const { settle } of entries) settle?.[1](new RelayError('closed', 'the client is closed'));
    },
  };
}

/** Not `randomUUID`, which pages have over HTTPS only. */
const randomKey = () => crypto.getRandomValues(new Uint8Array(16)).join('-');
