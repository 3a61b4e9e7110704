// Receiving: opens and shuts connections as the state machine says, hears them, and acknowledges what is handled.

import { RelayError } from './errors.js';
import { createMachine } from './machine.js';
import { now, pause } from './time.js';
import { ways } from './transports/index.js';

/** While there is more to handle, what is handled is not acknowledged more often than this. */
const ACK_PAUSE_MS = 50;

/** A token that is about to expire again as soon as it is shown is not replaced at once: then the connection ends with it. */
const RENEW_PAUSE_MS = 10_000;

/**
 * @typedef {import('./x0-relay.d.ts').Transport} Transport
 * @typedef {import('./machine.js').Event} Event
 * @typedef {import('./transports/index.js').Heard} Heard
 * @typedef {import('./sender.js').Link & { id: number, control: AbortController, renewed?: number }} Link
 */

/** @param {import('./x0-relay.d.ts').Options} options @param {import('./relay.js').House} house */
export function createReceiver(options, house) {
  const { api, emit, inbox } = house;
  const { session, wait = 10_000, keepalive = 15_000, transports = ['websocket', 'sse', 'poll'] } = options;
  const WebSocket = /** @type {typeof globalThis.WebSocket} */ (options.WebSocket ?? globalThis.WebSocket);
  const possible = transports.filter((name) => (name === 'websocket' ? WebSocket : ways[name]));
  if (!possible[0]) throw new TypeError('no such transport');
  const machine = createMachine(possible, keepalive, wait);
  /** @type {Map<number, Link>} */
  const links = new Map();
  /** @type {Event[]} */
  const events = [];
  /** @type {(() => void)[]} those who wait until all is handled */
  const drains = [];
  /** What the relay knows to be handled. */
  let acked = inbox.cursor;
  let acking = false;
  let pausing = false;
  let stepping = false;

  /** Hands an event to the machine and does what it says; events that come of that wait for their turn. @param {Event} event */
  const step = (event) => {
    events.push(event);
    if (stepping) return;
    stepping = true;
    for (let next; (next = events.shift()); ) {
      for (const effect of machine.handle(next, now(), inbox.waiting > 0)) perform(effect);
    }
    stepping = false;
    house.changed();
  };

  /** @param {import('./machine.js').Effect} effect */
  const perform = ([what, subject, transport]) => {
    if (what === 'state') {
      if (subject.name === 'superseded') inbox.drop();
      emit(what, subject);
    } else if (what === 'open') open(subject, /** @type {Transport} */ (transport));
    else if (what === 'ping') links.get(subject)?.send?.({ type: 'ping' });
    else drop(subject);
  };

  /** @param {number} id @param {Transport} transport */
  const open = (id, transport) => {
    const control = new AbortController();
    const { signal } = control;
    /** @type {Link} */
    const link = { id, control };
    // What a connection says that was given up counts no more: the next one says it again.
    /** @param {Heard} heard */
    const tell = (heard) => links.has(id) && hear(link, heard);
    const cursor = () => inbox.cursor;
    const after = cursor();
    links.set(id, link);
    ways[transport]({ api, session, wait, WebSocket, signal, drained, after, cursor, tell, link }).catch((cause) => {
      const error = cause instanceof RelayError ? cause : new RelayError('network', { cause });
      if (links.has(id)) ended(id, { error, retryAfter: error.retryAfter });
    });
  };

  /** @param {number} id */
  const drop = (id) => {
    const link = links.get(id);
    links.delete(id);
    link?.control.abort();
    if (link?.send) house.sender.cut();
  };

  /** @param {number} id @param {import('./machine.js').End} end */
  const ended = (id, end) => {
    const anew = end.error?.kind === 'invalid_cursor';
    if (anew) inbox.forget();
    drop(id);
    step({ ...end, anew, type: 'ended', id });
  };

  /** @param {Link} link @param {Heard} heard */
  const hear = (link, heard) => {
    const { id } = link;
    const { type } = heard;
    if (type === 'goodbye') {
      const { reason, retry_after = 0 } = heard;
      return ended(id, { superseded: reason === 'superseded', drain: true, retryAfter: retry_after * 1000 });
    }
    if (type === 'welcome') {
      // What was acknowledged over the connection before may not have arrived.
      acked = heard.cursor;
      if (acked) inbox.welcome(acked);
      step({ type, id });
      acknowledge();
    } else if (type === 'messages') inbox.take(heard);
    else if (type === 'sent') house.sender.accepted(heard);
    else if (type === 'error') house.sender.refused(heard);
    else if (type === 'expiring' && api.renewable && now() > (link.renewed ?? 0) + RENEW_PAUSE_MS) renew(link);
    step({ type: 'heard', id });
  };

  /** The token is about to expire: the next one is shown in time. @param {Link} link */
  const renew = async (link) => {
    link.renewed = now();
    api.spoil();
    try {
      link.send?.({ type: 'auth', token: await api.token() });
    } catch (error) {
      emit('error', error);
    }
  };

  /** @returns {Promise<void>} when all that came is handled */
  const drained = () => new Promise((resolve) => (inbox.waiting ? drains.push(resolve) : resolve()));

  /** The WebSocket by which messages may be sent. */
  const socket = () => {
    const link = links.get(machine.live?.id ?? 0);
    return link?.send && link;
  };

  /** Tells the relay what is handled; the next poll does that by itself. @param {boolean} [last] before the end */
  const acknowledge = async (last) => {
    const { cursor } = inbox;
    const link = socket();
    const can = last || link || (machine.live?.transport === 'sse' && !acking);
    if (!cursor || cursor === acked || !can) return;
    acked = cursor;
    if (link) return link.send?.({ type: 'ack', cursor });
    acking = true;
    // If it does not arrive, the next one says the same, or the next connection.
    await api.call('ack', { body: { session, cursor }, keepalive: last }).catch(() => {});
    acking = false;
    acknowledge();
  };

  return {
    step,
    acknowledge,
    socket,
    machine,
    /** Another item is handled. */
    async handled() {
      house.changed();
      if (!inbox.waiting) for (const go of drains.splice(0)) go();
      else {
        if (pausing) return;
        pausing = true;
        await pause(ACK_PAUSE_MS);
        pausing = false;
      }
      acknowledge(machine.state().name === 'closed');
    },
  };
}
