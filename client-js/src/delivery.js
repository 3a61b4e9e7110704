// Giving messages to those who listen: one at a time, in order, and again if a listener fails with one.

import { RelayError } from './errors.js';
import { backoff, pause } from './time.js';

/**
 * @typedef {import('./x0-relay.d.ts').Message} Message
 * @typedef {(message: Message) => unknown} Listener
 */

/** @param {import('./relay.js').House} house @param {Set<Listener>} listeners @param {number} attempts */
export function createDelivery(house, listeners, attempts) {
  const { inbox, emit, signal } = house;
  let busy = false;

  /** Gives a message to a listener until it is handled, or given up. @param {Listener} listener @param {Message} message */
  const give = async (listener, message) => {
    for (let attempt = 1; !signal.aborted && listeners.has(listener); attempt++) {
      try {
        return await listener(message);
      } catch (cause) {
        const final = attempt >= attempts;
        emit('error', new RelayError('listener', { cause, received: message, final }));
        if (final) return;
        await pause(backoff(attempt));
      }
    }
  };

  /** Gives what there is, as long as somebody listens. */
  return async () => {
    if (busy) return;
    busy = true;
    for (let item; !signal.aborted && listeners.size && (item = inbox.next()); ) {
      const { gap, message } = item;
      if (gap) emit('gap', gap);
      else if (message) for (const listener of [...listeners]) await give(listener, message);
      inbox.finish();
      house.receiver.handled();
    }
    busy = false;
  };
}

/**
 * Messages as an iteration: each is handled when the next one is asked for, or the loop is left.
 *
 * @param {import('./x0-relay.d.ts').Relay} relay
 * @returns {AsyncGenerator<Message, void>}
 */
export async function* iterate(relay) {
  /** @type {[Message, () => void] | undefined} */
  let given;
  let wake = () => {};
  const offs = [
    relay.on('message', (message) => {
      /** @type {Promise<void>} */
      const handled = new Promise((done) => (given = [message, done]));
      wake();
      return handled;
    }),
    relay.on('state', () => wake()),
  ];
  try {
    while (relay.state.name !== 'closed') {
      if (given) {
        /** @type {[Message, () => void]} */
        const [message, done] = given;
        given = undefined;
        try {
          yield message;
        } finally {
          done();
        }
      } else {
        await /** @type {Promise<void>} */ (new Promise((resolve) => (wake = resolve)));
      }
    }
  } finally {
    for (const off of offs) off();
  }
}
