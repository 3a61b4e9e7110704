// Asking the relay for the doctor: every question is timed, has an end, and never throws; whatever comes is a finding.

import { inventedFor } from './credentials.js';

/** A session for one check, that nobody else is likely to have; undefined if the token is for certain sessions alone. */
export const throwaway = () => inventedFor(terms.token, `doctor-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** How long, in milliseconds, what is answered at once may take, and the beginning of an event stream; what shows who asks. */
export const terms = { patience: 8000, streams: 8000, token: '' };

const credentials = () => (terms.token ? { Authorization: `Bearer ${terms.token}` } : {});

/**
 * Asks, and reads the answer whole: `{ ms, status, headers, text, json }`, or `{ ms, error }`; an answer that did not come
 * in time has `late`.
 */
export async function ask(path, { within = terms.patience, headers, ...init } = {}) {
  const started = performance.now();
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(), within);
  const took = () => performance.now() - started;
  try {
    const all = { ...credentials(), ...headers };
    const response = await fetch(path, { ...init, headers: all, cache: 'no-store', signal: control.signal });
    const text = await response.text();
    return { ms: took(), status: response.status, headers: response.headers, text, json: parse(text) };
  } catch (error) {
    return { ms: took(), late: control.signal.aborted, error: `${error.message ?? error}` };
  } finally {
    clearTimeout(timer);
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Sends a message. */
export const send = (session, payload, options = {}) =>
  ask('v1/messages', {
    method: 'POST',
    body: JSON.stringify({ to: `session:${session}`, payload, ...options.members }),
    headers: { 'Content-Type': 'application/json', ...options.headers },
  });

export const v1 = (path, query) => `v1/${path}?${new URLSearchParams(query)}`;

/** Removes what a check left behind. */
export const tidy = (session) => ask(`v1/sessions/${encodeURIComponent(session)}/messages`, { method: 'DELETE' });

/** What came, as words. */
export function inWords({ status, text, error, late, ms }) {
  if (late) return `no answer within ${seconds(ms)}`;
  if (error !== undefined) return `the connection failed after ${seconds(ms)} (${error})`;
  const kind = /^\s*</.test(text ?? '') ? ', an HTML page that is not the relay’s' : '';
  return `status ${status} after ${seconds(ms)}${kind}`;
}

export const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** Things that come one after the other, and an end; whoever waits is told of either. */
class Queue {
  #items = [];
  #wake = () => {};
  ended = null;

  put(item) {
    this.#items.push(item);
    this.#wake();
  }

  end(why) {
    this.ended ??= { why, at: performance.now() };
    this.#wake();
  }

  /** The next thing; undefined if it does not come within `ms`, or at all. */
  async next(ms) {
    const until = performance.now() + ms;
    for (;;) {
      if (this.#items.length > 0) return this.#items.shift();
      const left = until - performance.now();
      if (this.ended || left <= 0) return undefined;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** Opens an event stream: a queue of its blocks, comments too. `head` is fulfilled with the answer's head or undefined. */
export function openEvents(query, { method = 'GET', headers = {} } = {}) {
  const queue = new Queue();
  const control = new AbortController();
  const init = { method, signal: control.signal, cache: 'no-store', headers: { ...credentials(), ...headers } };
  const read = async () => {
    const response = await fetch(v1('events', query), init);
    headArrived(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ''; ; ) {
      const { value, done } = await reader.read();
      if (done) return queue.end('it was ended');
      const blocks = (text + value).split('\n\n');
      text = blocks.pop();
      // What is no event and no comment is a setting for EventSource.
      blocks.filter((block) => !block.startsWith('retry:')).forEach((block) => queue.put(block));
    }
  };
  let headArrived;
  const head = new Promise((resolve) => (headArrived = resolve));
  read().catch((error) => {
    headArrived(undefined);
    queue.end(`it broke off (${error.message})`);
  });
  return { queue, head: Promise.race([head, sleep(terms.streams)]), close: () => control.abort() };
}

/** Opens a WebSocket: a queue of its frames, parsed. A ticket stands for the token, because no header can be set. */
export async function openSocket(query, protocol = 'x0-relay.v1') {
  const queue = new Queue();
  const ticket = terms.token && (await ask('v1/tickets', { method: 'POST', body: JSON.stringify({ session: query.session }) })).json?.ticket;
  const url = new URL(v1('ws', ticket ? { ...query, ticket } : query), document.baseURI);
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = protocol ? new WebSocket(url, protocol) : new WebSocket(url);
  socket.onmessage = ({ data }) => queue.put(parse(data));
  socket.onclose = ({ code }) => queue.end(`code ${code}`);
  return { queue, send: (frame) => socket.send(JSON.stringify(frame)), close: () => socket.close() };
}
