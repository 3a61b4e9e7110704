// The doctor's quick checks. Each gives a verdict (good, info, warn, fault), the finding in words, and what helps.

import { ask, inWords, openEvents, openSocket, seconds, send, sleep, terms, throwaway, tidy, v1 } from './ask.js';

const good = (words) => ({ verdict: 'good', words });
const info = (words, fix) => ({ verdict: 'info', words, fix });
const warn = (words, fix) => ({ verdict: 'warn', words, fix });
const fault = (words, fix) => ({ verdict: 'fault', words, fix });

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

async function reach(found) {
  const answers = [];
  for (let n = 0; n < 5; n += 1) {
    const answer = await ask('healthz');
    if (answer.json?.name !== 'x0-relay') return fault(`Asked for /healthz: ${inWords(answer)}.`, 'Whatever stands in between does not pass this address to the relay.');
    answers.push(answer);
  }
  found.version = answers[0].json.version;
  const session = throwaway();
  if (session === undefined) return info('These credentials are for certain sessions, whose messages are not to be touched: what needs a session is not checked.');
  const v1Answer = await ask(v1('messages', { session, wait: 0 }));
  found.v1 = v1Answer.status === 200;
  if (v1Answer.status === 401) {
    found.asked = true;
    return fault(`The relay asks who you are: ${v1Answer.json?.detail ?? ''}`, 'Enter a token under Access, and check again.');
  }
  if (v1Answer.status === 403) return fault(`The token does not allow what is checked: ${v1Answer.json?.detail ?? ''}`, 'Enter one that may receive and send for a beginning of names, such as ann-*.');
  const trip = `x0-relay ${found.version} answers within ${seconds(median(answers.map(({ ms }) => ms)))} (the median of five).`;
  if (found.v1) return good(trip);
  if (/x0-relay serve/.test(v1Answer.json?.detail ?? '')) {
    return info(`${trip} It is a gateway: it has x0’s wire, and no protocol v1. What needs that is not checked.`);
  }
  return fault(`${trip} But of /v1/messages comes: ${inWords(v1Answer)}.`, 'Let the proxy pass /v1/ to the relay too.');
}

async function version() {
  const entry = performance.getEntriesByType('resource').findLast(({ name, nextHopProtocol }) => name.includes('/healthz') && nextHopProtocol);
  const spoken = entry?.nextHopProtocol;
  if (!spoken) return info('The browser does not say which version of HTTP it speaks.');
  if (spoken.startsWith('http/1')) {
    return info('HTTP/1.1. A browser opens six connections to one host for all its tabs together; every tab that polls or takes an event stream holds one.', 'WebSockets do not count among the six. HTTP/2 over TLS ends it too: the relay’s tls-listen and tls-cert, or in nginx listen 443 ssl; http2 on;');
  }
  return good(`${spoken}: any number of tabs share one connection.`);
}

const ECHO = 'doctor/echo';
const SENT = { Authorization: 'Bearer doctor', 'Idempotency-Key': 'doctor', 'Last-Event-ID': 'doctor' };

async function headers(found) {
  const answer = await ask(ECHO, { headers: SENT });
  found.echo = answer;
  const arrived = answer.json?.headers;
  if (!Array.isArray(arrived)) return fault(`The relay’s answer did not come: ${inWords(answer)}.`, 'nginx: proxy_intercept_errors off;');
  const lost = Object.keys(SENT).filter((name) => !arrived.includes(name.toLowerCase()));
  const between = ['via', 'forwarded', 'x-forwarded-for', 'x-real-ip'].filter((name) => arrived.includes(name));
  const seen = between.length > 0 ? ` A proxy stands in between: it adds ${between.join(', ')}.` : '';
  if (lost.length === 0) return good(`Authorization, Idempotency-Key and Last-Event-ID reach the relay.${seen}`);
  return fault(`Removed on the way to the relay: ${lost.join(', ')}.${seen}`, lost.map((name) => `nginx: proxy_set_header ${name} $http_${name.toLowerCase().replaceAll('-', '_')};`).join('\n'));
}

async function refusals({ echo }) {
  if (echo.status !== 429) return fault(`An answer with status 429 became: ${inWords(echo)}.`, 'nginx: proxy_intercept_errors off;\nApache: ProxyErrorOverride Off');
  if (!Array.isArray(echo.json?.headers)) return fault('The body of an error answer was exchanged on the way, so a client cannot read why.', 'nginx: proxy_intercept_errors off;\nApache: ProxyErrorOverride Off');
  if (echo.headers.get('retry-after') !== '7') return warn('Retry-After is removed from answers: clients do not learn when to come back, and guess.', 'nginx: remove proxy_hide_header Retry-After;\nApache: remove Header unset Retry-After');
  return good('Error answers arrive as the relay wrote them, with Retry-After.');
}

const ALLOWED = ['authorization', 'content-type', 'idempotency-key', 'last-event-id'];

async function cors() {
  const [asked, answer] = await Promise.all([ask('v1/messages', { method: 'OPTIONS' }), ask(v1('messages', { session: throwaway(), wait: 0 }))]);
  const once = 'Let the relay alone answer OPTIONS and set these headers. nginx: remove add_header Access-Control-…, and any if ($request_method = OPTIONS).';
  if (asked.status === undefined || asked.status >= 300) return fault(`A preflight (OPTIONS) is answered with ${inWords(asked)}: pages of other hosts cannot send.`, once);
  const isListed = ({ headers: of }) => !of?.get('access-control-allow-origin') && /\borigin\b/i.test(of?.get('vary') ?? '');
  if (isListed(asked) && isListed(answer)) return info('Pages of other hosts may use this relay only if its operator lists them.', 'The relay: origins = ["https://app.example"]');
  for (const [name, { headers: of }] of [['A preflight', asked], ['An answer', answer]]) {
    const origin = of?.get('access-control-allow-origin');
    if (!origin) return fault(`${name} comes without Access-Control-Allow-Origin: pages of other hosts, such as x0’s, cannot read it.`, once);
    if (origin.includes(',')) return fault(`${name} has Access-Control-Allow-Origin twice (${origin}), which browsers refuse.`, once);
  }
  const allowed = (asked.headers.get('access-control-allow-headers') ?? '').toLowerCase();
  const lacking = ALLOWED.filter((name) => !allowed.includes(name));
  if (lacking.length > 0) return fault(`A preflight does not allow ${lacking.join(', ')}.`, once);
  if (!/retry-after/i.test(answer.headers.get('access-control-expose-headers') ?? '')) return warn('Pages of other hosts cannot read Retry-After.', once);
  return good('Pages of other hosts may ask, and may read the answers.');
}

async function idempotency() {
  const session = throwaway();
  const options = { headers: { 'Idempotency-Key': 'doctor-once' } };
  const [first, second] = [await send(session, 1, options), await send(session, 1, options)];
  await tidy(session);
  if (first.json?.kind === 'origin_refused') return fault(`${first.json.detail}. So this page’s own address does not reach the relay as it is.`, 'nginx: proxy_set_header Host $http_host;\nApache: ProxyPreserveHost On\nThe relay: or list this origin under origins');
  if (first.status !== 201 || second.status !== 201) return fault(`A message was not accepted: ${inWords(first.status === 201 ? second : first)}.`, 'Let the proxy pass POST to the relay.');
  if (!second.json?.duplicate) return fault('The same message with the same Idempotency-Key was accepted twice: the header is removed or changed on the way.', 'nginx: proxy_set_header Idempotency-Key $http_idempotency_key;\nOr put the key into the body, as the relay’s own client does.');
  return good('A message that is sent again with its key is kept once.');
}

const LARGE = 48 * 1024;

async function size() {
  const session = throwaway();
  const payload = 'ä€😀"\\'.repeat(LARGE / 16);
  const sent = await send(session, payload);
  const got = await ask(v1('messages', { session, wait: 0 }));
  await tidy(session);
  if (sent.status === 413) return fault(`A message of ${LARGE / 1024} KiB is too large for something in between, or for the relay.`, 'nginx: client_max_body_size 1m;\nThe relay: message-bytes = "64KiB" or more');
  if (sent.status !== 201) return fault(`A message of ${LARGE / 1024} KiB was not accepted: ${inWords(sent)}.`, 'A filter in between (a “web application firewall”) may dislike its content.');
  if (got.json?.messages?.[0]?.payload !== payload) return fault(`A message of ${LARGE / 1024} KiB came back changed.`, 'Something in between rewrites answers: switch that off for the relay.');
  return good(`A message of ${LARGE / 1024} KiB arrives whole and unchanged.`);
}

async function caching() {
  const session = throwaway();
  const path = `v1/sessions/${session}`;
  const before = await ask(path);
  await send(session, 1);
  const later = await ask(path);
  await tidy(session);
  if (before.json?.pending !== 0) return warn(`Asked for a session: ${inWords(before)}.`);
  if (later.json?.pending !== 1) return fault('The same question got an old answer: something in between remembers answers.', 'nginx: proxy_cache off;\nA CDN: no caching for the relay’s addresses.');
  return good('Nothing in between remembers answers.');
}

const LOOK_MS = 20;

async function poll() {
  const session = throwaway();
  const waiting = ask(v1('messages', { session, wait: Math.min(30, terms.patience / 1000) }), { within: terms.patience * 2 });
  await attached(session, waiting);
  const started = performance.now();
  await send(session, 'poll');
  const answer = await waiting;
  await tidy(session);
  if (answer.json?.messages?.[0]?.payload !== 'poll') return fault(`A poll did not get its message: ${inWords(answer)}.`, 'See below how long a request may wait.');
  return good(`A waiting poll gets its message ${seconds(performance.now() - started)} after it was sent.`);
}

/** Waits until the relay sees a receiver of this session, or the receiver has its answer. */
async function attached(session, receiver) {
  let over = false;
  receiver.then(() => (over = true));
  const until = performance.now() + terms.patience;
  while (!over && performance.now() < until) {
    if ((await ask(`v1/sessions/${session}`)).json?.attached) return;
    await sleep(LOOK_MS);
  }
}

const UNBUFFERED = 'nginx: proxy_buffering off; proxy_http_version 1.1; and gzip off; for /v1/events\nApache: ProxyPass … flushpackets=on, and SetEnv no-gzip 1\nUntil then clients use WebSocket or long poll.';

/** Whether an event stream arrives as it is sent: the welcome, and then a message. */
async function streams(method) {
  const session = throwaway();
  const stream = openEvents({ session, ack: 'explicit' }, { method });
  try {
    const [head, welcome] = await Promise.all([stream.head, stream.queue.next(terms.streams)]);
    if (!/^event: relay:welcome$/m.test(welcome ?? '')) {
      const other = head && head.status !== 200 ? `status ${head.status}` : '';
      return { arrives: false, why: other || stream.queue.ended?.why || `nothing within ${seconds(terms.streams)}` };
    }
    const started = performance.now();
    await send(session, 'event');
    const event = await stream.queue.next(terms.patience);
    const coding = head?.headers.get('content-encoding');
    return { arrives: event?.includes('"event"') ?? false, why: 'the message behind the welcome did not come', ms: performance.now() - started, coding };
  } finally {
    stream.close();
    await tidy(session);
  }
}

async function events(found) {
  const [get, post] = await Promise.all([streams('GET'), streams('POST')]);
  found.coding = get.coding ?? post.coding;
  if (get.arrives && post.arrives) return good(`Events arrive as they are sent: a message within ${seconds(get.ms)}.`);
  if (post.arrives) return warn(`Over GET an event stream is held back (${get.why}); over POST, as the relay’s own client asks, it arrives. An EventSource gets nothing.`, UNBUFFERED);
  if (get.arrives) return warn(`Over POST, as the relay’s own client asks, an event stream does not arrive (${post.why}); over GET it does.`, UNBUFFERED);
  return fault(`Event streams do not arrive as they are sent: ${get.why}. Something in between holds them back.`, UNBUFFERED);
}

async function resumption() {
  const session = throwaway();
  await send(session, 1);
  const { json } = await ask(v1('messages', { session, wait: 0 }));
  const stream = openEvents({ session, ack: 'explicit' }, { headers: { 'Last-Event-ID': json?.cursor ?? '' } });
  const welcome = await stream.queue.next(terms.streams);
  stream.close();
  await tidy(session);
  if (welcome === undefined) return info('Not known, because the event stream does not arrive.');
  if (welcome.includes(`id: ${json?.cursor}`)) return good('An EventSource that was cut off goes on where it was.');
  return fault('Last-Event-ID is removed on the way: an EventSource that was cut off begins anew.', 'nginx: proxy_set_header Last-Event-ID $http_last_event_id;');
}

async function compression({ coding, echo }) {
  const answer = await ask(v1('messages', { session: throwaway(), wait: 0 }));
  const others = answer.headers?.get('content-encoding') ?? echo.headers?.get('content-encoding');
  if (coding) return warn(`The event stream is compressed on the way (${coding}), which often holds events back.`, 'nginx: gzip off; for /v1/events\nApache: SetEnv no-gzip 1');
  if (others) return info(`Answers are compressed on the way (${others}). That does no harm to polls.`);
  return good('Nothing in between compresses answers.');
}

const UPGRADE = 'nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";\nApache: ProxyPass … upgrade=websocket\nUntil then clients use event streams or long poll.';

async function websocket(found) {
  const session = throwaway();
  const socket = await openSocket({ session });
  try {
    const welcome = await socket.queue.next(terms.patience);
    if (welcome?.type !== 'welcome') return await noSocket(session, socket.queue);
    const started = performance.now();
    socket.send({ type: 'send', ref: 1, to: `session:${session}`, payload: 'socket' });
    for (let n = 0; n < 2; n += 1) {
      const frame = await socket.queue.next(terms.patience);
      if (frame?.type !== 'messages') continue;
      found.socket = true;
      socket.send({ type: 'ack', cursor: frame.cursor });
      return good(`A WebSocket opens, and a message is there and back within ${seconds(performance.now() - started)}.`);
    }
    return fault('A WebSocket opens, but what is sent over it does not come back.', UPGRADE);
  } finally {
    socket.close();
    await tidy(session);
  }
}

/** Why there is no WebSocket; the browser does not tell. */
async function noSocket(session, { ended }) {
  const bare = await openSocket({ session }, '');
  const welcome = await bare.queue.next(ended ? terms.patience : 1);
  bare.close();
  if (welcome?.type === 'welcome') return fault('A WebSocket opens only without a sub-protocol: Sec-WebSocket-Protocol is removed on the way.', 'nginx: proxy_set_header Sec-WebSocket-Protocol $http_sec_websocket_protocol;');
  const plain = await ask(v1('ws', { session }));
  if (plain.status === 426) return fault(`WebSockets do not pass (${ended?.why ?? 'no answer'}), while ordinary requests to the same address do: the headers Upgrade and Connection are not passed on, or WebSockets are forbidden on the way.`, UPGRADE);
  return fault(`WebSockets do not pass; an ordinary request to the same address: ${inWords(plain)}.`, UPGRADE);
}

/** In their order. Those with `v1` need protocol v1. */
export const CHECKS = [
  { id: 'reach', title: 'The relay answers', run: reach },
  { id: 'version', title: 'Connections', run: version },
  { id: 'headers', title: 'Headers of requests', run: headers },
  { id: 'refusals', title: 'Error answers', run: refusals },
  { id: 'cors', title: 'Pages of other hosts (CORS)', run: cors, v1: true },
  { id: 'idempotency', title: 'Sending', run: idempotency, v1: true },
  { id: 'size', title: 'Large messages', run: size, v1: true },
  { id: 'caching', title: 'Fresh answers', run: caching, v1: true },
  { id: 'poll', title: 'Long poll', run: poll, v1: true },
  { id: 'events', title: 'Event stream', run: events, v1: true },
  { id: 'resumption', title: 'Event stream, resumed', run: resumption, v1: true },
  { id: 'compression', title: 'Compression', run: compression, v1: true },
  { id: 'websocket', title: 'WebSocket', run: websocket, v1: true },
];
