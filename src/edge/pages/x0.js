// A client for x0's own wire: it polls as x0's pages do, except that it never stops. What it offers looks like what the
// client of protocol v1 does; but this wire has no cursor, no numbers and no keys, so it cannot tell a repeat.

import { messagesOf, parse } from './raw.js';

/** The longest a poll may take: the relay waits a minute at most. */
const POLL_WITHIN_MS = 75_000;
const ASK_WITHIN_MS = 30_000;
/** Pauses after failures are drawn from 0 to a bound that doubles from the first to the last of these. */
const PAUSE_FIRST_MS = 500;
const PAUSE_LAST_MS = 15_000;
/** An empty answer that comes sooner than this is not asked for again at once. */
const ROUND_MIN_MS = 250;

/** Why there is no good answer. `heard`: the relay itself has said no. */
class Trouble extends Error {
  constructor(words, heard) {
    super(words);
    this.heard = heard;
  }
}

/**
 * @param {string} session
 * @param {{ fetch: typeof fetch, onMessage: (raw: string) => void, onState: (state: object) => void }} options
 */
export function connectX0(session, { fetch, onMessage, onState }) {
  let state = { name: 'connecting', since: Date.now() };
  let closed = false;
  let failures = 0;
  let away = true;
  let turn = new AbortController();
  let wake = () => {};
  /** One after the other, so that messages arrive in the order in which they were sent. */
  let sending = Promise.resolve();

  const become = (next) => {
    if (closed && next.name !== 'closed') return;
    const since = next.name === state.name ? state.since : Date.now();
    state = { since, ...next };
    onState(state);
  };

  /** Asks the relay, POST if there is a body. Resolves with the answer's text; rejects with {@link Trouble}. */
  const ask = async (path, body, within, control = new AbortController()) => {
    const late = setTimeout(() => control.abort(new Trouble('The relay does not answer', false)), within);
    const init = body === undefined ? {} : { method: 'POST', headers: { 'Content-Type': 'application/json' }, body };
    try {
      const response = await fetch(path, { ...init, signal: control.signal, cache: 'no-store' });
      const text = await response.text();
      const value = parse(text);
      if (value?.error === true) throw new Trouble(`${value.exception}: ${value.detail}`, true);
      if (response.status !== 200 || value === null || typeof value !== 'object') {
        throw new Trouble(`What answers here is not the relay (status ${response.status})`, false);
      }
      return text;
    } catch (error) {
      if (control.signal.aborted && control.signal.reason instanceof Trouble) throw control.signal.reason;
      throw error instanceof Trouble ? error : new Trouble('The relay is away', false);
    } finally {
      clearTimeout(late);
    }
  };

  const pause = (ms) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, ms));
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const poll = async () => {
    if (away) {
      // A poll would wait for mail before it tells that the relay is back.
      await ask('healthz', undefined, ASK_WITHIN_MS, turn);
      away = false;
      become({ name: 'online', transport: 'x0' });
    }
    const asked = performance.now();
    const body = JSON.stringify({ session_src: session, type: 'GET' });
    const messages = messagesOf(await ask('get', body, POLL_WITHIN_MS, turn));
    failures = 0;
    become({ name: 'online', transport: 'x0' });
    if (!closed) messages.forEach(onMessage);
    if (messages.length === 0) await pause(asked + ROUND_MIN_MS - performance.now());
  };

  const run = async () => {
    while (!closed) {
      turn = new AbortController();
      try {
        await poll();
      } catch (error) {
        if (closed) return;
        away = !error.heard;
        // Full jitter, so that a relay that comes back is not met by everybody at once.
        const wait = Math.random() * Math.min(PAUSE_LAST_MS, PAUSE_FIRST_MS * 2 ** failures);
        failures += 1;
        become({ name: 'offline', nextTry: Date.now() + wait, error });
        await pause(wait);
      }
    }
  };

  const post = async (to, payload) => {
    // Written by hand, so that the payload stays as it is; it is known to be one JSON value.
    const names = `"session_src":${JSON.stringify(session)},"session_dst":${JSON.stringify(to)}`;
    try {
      await ask('set', `{"type":"SET",${names},"payload":${payload}}`, ASK_WITHIN_MS);
    } catch (error) {
      error.code = error.heard ? 'refused' : 'uncertain';
      throw error;
    }
  };

  run();
  return {
    cursor: undefined,
    unsent: 0,
    get state() {
      return state;
    },
    /** @param {string} payload JSON, and sent as it is */
    send(to, payload) {
      const sent = sending.then(() => post(to, payload));
      sending = sent.catch(() => {});
      return sent;
    },
    /** Does not wait for the pause to end. */
    resume: () => wake(),
    close() {
      closed = true;
      turn.abort(new Trouble('closed', false));
      wake();
    },
  };
}
