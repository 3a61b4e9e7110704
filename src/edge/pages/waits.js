// The doctor's long checks: what happens to requests, streams and WebSockets on which nothing is said for a while. They run
// side by side; a browser's six connections are enough for them.

import { ask, inWords, openEvents, openSocket, seconds, terms, throwaway, v1 } from './ask.js';

/** How much later than it should an answer may be. */
const MARGIN_MS = 5000;

/** A poll that waits for `wait` seconds and gets nothing. */
async function poll(wait) {
  const within = wait * 1000 + MARGIN_MS + terms.patience;
  const answer = await ask(v1('messages', { session: throwaway(), wait }), { within });
  if (answer.status === 200 && Array.isArray(answer.json?.messages)) {
    const early = answer.ms < wait * 1000 - 500;
    if (early) return { verdict: 'warn', words: `It was answered after ${seconds(answer.ms)} already, and without a message.` };
    return { verdict: 'good', words: `It is answered after ${seconds(answer.ms)}.` };
  }
  const shorter = Math.max(1, Math.floor(answer.ms / 1000) - 2);
  return {
    verdict: 'fault',
    words: `It does not survive: ${inWords(answer)}.`,
    fix: `The relay: wait = "${Math.min(shorter, 60)}s" or less, for the clients’ own wait too\nnginx: proxy_read_timeout 75s;\nApache: ProxyTimeout 75\nHAProxy: timeout server 75s`,
  };
}

/** A poll of x0's own, which waits as long as the relay is set to. */
async function x0() {
  const session = throwaway();
  if (session === undefined) return { verdict: 'skipped', words: 'It needs a session.' };
  const body = JSON.stringify({ session_src: session, type: 'GET' });
  const answer = await ask('get', { method: 'POST', body, headers: { 'Content-Type': 'application/json' }, within: 60_000 + MARGIN_MS + terms.patience });
  if (answer.status === 200 && answer.json?.messages === null) return { verdict: 'good', words: `It is answered after ${seconds(answer.ms)}, the relay’s wait.` };
  if (answer.json?.error) return { verdict: 'warn', words: `The relay refuses it: ${answer.json.exception}: ${answer.json.detail}` };
  return { verdict: 'fault', words: `It does not survive: ${inWords(answer)}. An x0 page stops for good then.`, fix: 'The relay: a shorter wait\nnginx: proxy_read_timeout 75s;\nApache: ProxyTimeout 75' };
}

const KEEPALIVE = (after) => `The relay: keepalive = "${Math.max(1, Math.floor(after / 2000))}s" or less, so that something is said in time`;

/** An event stream on which nothing is said but the relay's comments. */
async function events(wait) {
  const stream = openEvents({ session: throwaway(), ack: 'explicit' }, { method: 'POST' });
  const started = performance.now();
  const welcome = await stream.queue.next(terms.streams);
  if (welcome === undefined) {
    stream.close();
    return { verdict: 'info', words: 'Not checked, because the event stream does not arrive.' };
  }
  let [comments, heard] = [0, performance.now()];
  for (let left; (left = started + wait * 1000 - performance.now()) > 0 && !stream.queue.ended; ) {
    if ((await stream.queue.next(left)) === undefined) continue;
    comments += 1;
    heard = performance.now();
  }
  const { ended } = stream.queue;
  stream.close();
  if (!ended) return { verdict: 'good', words: `It is open after ${wait} s; signs of life meanwhile: ${comments}.` };
  const quiet = ended.at - heard;
  return { verdict: 'fault', words: `It was cut after ${seconds(ended.at - started)} (${ended.why}), after ${seconds(quiet)} of silence.`, fix: `${KEEPALIVE(quiet)}\nnginx: proxy_read_timeout 75s;\nApache: ProxyTimeout 75` };
}

/** A WebSocket on which nothing is said but the relay's pings. */
async function websocket(wait) {
  const socket = await openSocket({ session: throwaway() });
  const started = performance.now();
  if ((await socket.queue.next(terms.patience))?.type !== 'welcome') {
    socket.close();
    return { verdict: 'info', words: 'Not checked, because no WebSocket opens.' };
  }
  await socket.queue.next(started + wait * 1000 - performance.now());
  const { ended } = socket.queue;
  if (!ended) {
    socket.send({ type: 'ping' });
    const pong = await socket.queue.next(terms.patience);
    socket.close();
    if (pong?.type === 'pong') return { verdict: 'good', words: `It is open, and answers, after ${wait} s.` };
    return { verdict: 'fault', words: `It is dead after ${wait} s, and nobody said so.`, fix: `${KEEPALIVE(wait * 1000)}\nnginx: proxy_read_timeout 75s;\nHAProxy: timeout tunnel 1h` };
  }
  const lived = ended.at - started;
  return { verdict: 'fault', words: `It was cut after ${seconds(lived)} (${ended.why}).`, fix: `${KEEPALIVE(lived)}\nnginx: proxy_read_timeout 75s;\nApache: ProxyTimeout 75\nHAProxy: timeout tunnel 1h` };
}

/** The long checks for these waits, in seconds. Those with `v1` need protocol v1. */
export function longChecks(waits) {
  const longest = Math.max(...waits);
  return [
    ...waits.map((wait) => ({ id: `poll-${wait}`, title: `A poll of ${wait} s`, run: () => poll(wait), v1: true })),
    { id: 'x0-poll', title: 'A poll of x0’s own', run: x0 },
    { id: 'events-quiet', title: 'A quiet event stream', run: () => events(longest), v1: true },
    { id: 'websocket-quiet', title: 'A quiet WebSocket', run: () => websocket(longest), v1: true },
  ];
}
