// The client: what it offers, its listeners, its timer and its storage, around the receiver and the sender.

import { createApi } from './api.js';
import { createDelivery, iterate } from './delivery.js';
import { RelayError } from './errors.js';
import { createInbox } from './inbox.js';
import { watchPage } from './page.js';
import { createReceiver } from './receiver.js';
import { createSender } from './sender.js';
import { now } from './time.js';

const TIMER_MOST_MS = 2e9;

/**
 * What the client's parts know of each other. `changed`: something came, was handled or sent, or is other than before;
 * `signal`: the client's end.
 *
 * @typedef {{
 *   api: import('./api.js').Api, inbox: ReturnType<typeof createInbox>, entries: import('./outbox.js').Entry[],
 *   emit: (name: string, event: any) => void, signal: AbortSignal, changed: () => void,
 *   receiver: ReturnType<typeof createReceiver>, sender: ReturnType<typeof createSender>,
 * }} House
 */

/**
 * @param {string | URL} url @param {import('./x0-relay.d.ts').Options} options
 * @returns {import('./x0-relay.d.ts').Relay}
 */
export function connect(url, options) {
  const { session, token, storage, attempts = 3, fetch = globalThis.fetch } = options;
  if (!session) throw new TypeError('session is missing');
  const { origin, pathname } = new URL(url, globalThis.location?.href);
  const base = (origin + pathname).replace(/\/*$/, '');
  /** @type {Record<string, Set<(event: any) => unknown>>} */
  const listeners = { message: new Set(), gap: new Set(), state: new Set(), error: new Set() };
  const closing = new AbortController();
  const { signal } = closing;
  const place = `x0-relay ${base} ${session}`;
  let saved = '';
  /** @type {any} */
  let timer;
  let timerAt = Infinity;

  /** @param {string} name @param {any} event */
  const emit = (name, event) => {
    const set = listeners[name];
    // An error that nobody listens for is not swallowed.
    for (const listener of name === 'error' && !set.size ? [console.error] : set) {
      try {
        listener(event);
      } catch (error) {
        console.error(error);
      }
    }
  };

  /** Storages throw: they are full, or forbidden. @template T @param {() => T} use */
  const tryStorage = (use) => {
    try {
      return use();
    } catch (cause) {
      emit('error', new RelayError('storage', { cause }));
    }
  };

  /** What outlives the page. */
  const save = () => {
    if (!storage) return;
    const unsent = entries.map(({ draft, since }) => ({ draft, since }));
    const text = JSON.stringify({ cursor: inbox.cursor, unsent });
    if (text !== saved) tryStorage(() => storage.setItem(place, text));
    saved = text;
  };

  /** One timer for everything that waits. */
  const schedule = () => {
    const due = signal.aborted ? Infinity : Math.min(receiver.machine.due, sender.due());
    if (due === timerAt) return;
    clearTimeout(timer);
    timerAt = due;
    if (due === Infinity) return;
    const run = () => {
      // Should the wall's clock have gone back, the timer knows better.
      now(timerAt);
      timerAt = Infinity;
      receiver.step({ type: 'tick' });
    };
    timer = setTimeout(run, Math.min(TIMER_MOST_MS, due - now()));
  };

  const changed = () => {
    sender.flush();
    save();
    schedule();
    deliver();
  };

  const kept = tryStorage(() => JSON.parse(storage?.getItem(place) || '{}')) ?? {};
  const { after = kept.cursor } = options;
  const inbox = createInbox(after);
  /** @type {House['entries']} */
  const entries = kept.unsent ?? [];
  const api = createApi(base, token, fetch);
  const house = /** @type {House} */ ({ api, inbox, entries, emit, signal, changed });
  const receiver = (house.receiver = createReceiver(options, house));
  const sender = (house.sender = createSender(options, house));
  const deliver = createDelivery(house, listeners.message, attempts);

  /** @type {import('./x0-relay.d.ts').Relay} */
  const relay = {
    session,
    send: sender.send,
    get state() {
      return receiver.machine.state();
    },
    get cursor() {
      return inbox.cursor;
    },
    get unsent() {
      return entries.length;
    },
    on(name, listener) {
      listeners[name].add(/** @type {any} */ (listener));
      deliver();
      return () => relay.off(name, listener);
    },
    off: (name, listener) => listeners[name].delete(listener),
    resume: () => receiver.step({ type: 'resume' }),
    close() {
      if (signal.aborted) return;
      receiver.acknowledge(true);
      closing.abort();
      receiver.step({ type: 'close' });
      sender.close();
    },
    [Symbol.asyncIterator]: () => iterate(relay),
  };

  watchPage((type) => {
    if (type === 'pagehide') receiver.acknowledge(true);
    receiver.step({ type });
  }, signal);
  receiver.step({ type: 'resume' });
  return relay;
}
