// The transports over real sockets, against a server that says what the test wants: what they ask with, and answers in
// awkward pieces, from the wrong people, and too late.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import test from 'node:test';
import { WebSocketServer } from 'ws';
import { connect } from '../dist/x0-relay.min.js';

const noWebSocket = typeof WebSocket === 'function' ? false : 'SKIPPED: run Node with --experimental-websocket';
if (noWebSocket) console.log(noWebSocket);
const EPOCH = '00c3f1a2b49d0e1f';

/** @typedef {{ path: string, query: Record<string, string>, headers: http.IncomingHttpHeaders, body: any }} Asked */

/**
 * A server; `answer` says what it does with a request.
 *
 * @param {(asked: Asked, response: http.ServerResponse) => void} answer
 */
async function serve(answer) {
  /** @type {Asked[]} */
  const asked = [];
  const server = http.createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const { pathname, searchParams } = new URL(String(request.url), 'http://x');
    const path = `${request.method} ${pathname}`;
    const one = { path, query: Object.fromEntries(searchParams), headers: request.headers, body: text && JSON.parse(text) };
    asked.push(one);
    answer(one, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url, server, asked, close };
}

/** @param {http.ServerResponse} response @param {number} status @param {any} said @param {Record<string, string>} [headers] */
const json = (response, status, said, headers = {}) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(said));
};
const empty = (/** @type {string} */ cursor) => ({ messages: [], cursor, more: false });
const message = (/** @type {number} */ seq, /** @type {unknown} */ payload) => ({ id: `${seq}`, seq, from: 'b', type: 'message', ts: 0, payload });
const welcome = `retry: 1000\n\nid: ${EPOCH}.0\nevent: relay:welcome\ndata: {"session":"s","cursor":"${EPOCH}.0"}\n\n`;

/** @param {import('../dist/x0-relay.js').Relay} relay @param {number} count */
async function take(relay, count) {
  const payloads = [];
  for await (const { payload } of relay) if (payloads.push(payload) === count) break;
  return payloads;
}

/** @param {import('../dist/x0-relay.js').Relay} relay @param {(state: any) => unknown} isSo */
const state = (relay, isSo) =>
  isSo(relay.state) ? relay.state : new Promise((resolve) => {
    const off = relay.on('state', (state) => isSo(state) && (off(), resolve(state)));
  });

test('events are asked for by POST, with the token in a header and explicit acknowledgement', async () => {
  const { url, asked, close } = await serve(({ path }, response) => {
    if (path === 'POST /v1/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`${welcome}id: ${EPOCH}.1\nevent: message\ndata: ${JSON.stringify(message(1, 'one'))}\n\n`);
    } else json(response, 200, { acked: 1 });
  });
  const relay = connect(`${url}/`, { session: 's', token: () => 'secret', transports: ['sse'], after: `${EPOCH}.0` });
  assert.deepEqual(await take(relay, 1), ['one']);
  while (asked.length < 2) await new Promise(setImmediate);
  const [events, ack] = asked;
  assert.deepEqual(events.body, { session: 's', after: `${EPOCH}.0`, ack: 'explicit' });
  assert.equal(events.headers.authorization, 'Bearer secret');
  assert.match(String(events.headers['content-type']), /^text\/plain/, 'no preflight');
  assert.deepEqual([ack.path, ack.body], ['POST /v1/ack', { session: 's', cursor: `${EPOCH}.1` }]);
  assert(!JSON.stringify(asked.map(({ query }) => query)).includes('secret'));
  relay.close();
  close();
});

test('events in pieces of one byte, with text beyond ASCII, colons and line separators', async () => {
  const payload = { text: 'ä€\u{1f600}: a\u2028b, c: d', more: 'x: y\\n' };
  const { url, close } = await serve(async ({ path }, response) => {
    if (path !== 'POST /v1/events') return json(response, 200, {});
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const events = `${welcome}:\n\nid: ${EPOCH}.1\nevent: a.b-c_D\ndata: ${JSON.stringify(message(1, payload))}\n\nid: ${EPOCH}.2\nevent: x\ndata: ${JSON.stringify(message(2, 2))}\n\n`;
    response.socket?.setNoDelay(true);
    for (const byte of Buffer.from(events)) {
      response.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
  });
  const relay = connect(url, { session: 's', transports: ['sse'] });
  assert.deepEqual(await take(relay, 2), [payload, 2]);
  relay.close();
  close();
});

test('polls hand in the cursor of what is handled, and the first does not wait', async () => {
  const { url, asked, close } = await serve(({ query }, response) => {
    const seq = Number(query.after?.split('.')[1] ?? 0);
    if (seq < 3) json(response, 200, { messages: [message(seq + 1, seq + 1)], cursor: `${EPOCH}.${seq + 1}`, more: true });
  });
  const relay = connect(`${url}/prefix/`, { session: 's / ä&', transports: ['poll'], wait: 2500 });
  assert.deepEqual(await take(relay, 3), [1, 2, 3]);
  while (asked.length < 4) await new Promise(setImmediate);
  assert.deepEqual(asked.map(({ path, query }) => [path, query]), [
    ['GET /prefix/v1/messages', { session: 's / ä&', wait: '0' }],
    ['GET /prefix/v1/messages', { session: 's / ä&', after: `${EPOCH}.1`, wait: '2.5' }],
    ['GET /prefix/v1/messages', { session: 's / ä&', after: `${EPOCH}.2`, wait: '2.5' }],
    ['GET /prefix/v1/messages', { session: 's / ä&', after: `${EPOCH}.3`, wait: '2.5' }],
  ]);
  relay.close();
  close();
});

test('whatever is no relay is not taken for one', async () => {
  const nonsense = [
    (/** @type {http.ServerResponse} */ response) => {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end('<h1>Log in to this network</h1>');
    },
    (/** @type {http.ServerResponse} */ response) => json(response, 200, {}),
    (/** @type {http.ServerResponse} */ response) => json(response, 200, { messages: null }),
    (/** @type {http.ServerResponse} */ response) => json(response, 404, { detail: 'nothing here' }),
    (/** @type {http.ServerResponse} */ response) => json(response, 200, []),
    (/** @type {http.ServerResponse} */ response) => response.destroy(),
  ];
  for (const answer of nonsense) {
    const { url, close } = await serve((_, response) => void answer(response));
    const relay = connect(url, { session: 's' });
    const { error } = /** @type {any} */ (await state(relay, ({ name }) => name === 'offline'));
    assert.equal(error.name, 'RelayError', String(answer));
    assert(['network', 'refused'].includes(error.code));
    relay.close();
    close();
  }
});

test('Retry-After is a number of seconds or a date', async () => {
  for (const asDate of [false, true]) {
    const start = Date.now();
    const after = asDate ? new Date(start + 8000).toUTCString() : '7';
    const { url, close } = await serve((_, response) => json(response, 503, { detail: 'not now' }, { 'retry-after': after }));
    const relay = connect(url, { session: 's', transports: ['sse'] });
    const { nextTry, error } = /** @type {any} */ (await state(relay, ({ name }) => name === 'offline'));
    // The date is in whole seconds; what comes on top of it is jitter, and however long the answer took.
    const least = asDate ? Date.parse(after) : start + 7000;
    const most = asDate ? least + 500 + Date.now() - start : Date.now() + 7500;
    assert(nextTry >= least && nextTry <= most, `${after}: ${nextTry - start} ms`);
    assert.deepEqual([error.message, error.status], ['not now', 503]);
    relay.close();
    close();
  }
});

test('a WebSocket gets a ticket for a token, offers the protocol, and acknowledges', { skip: noWebSocket }, async () => {
  const { url, server, asked, close } = await serve(({ path }, response) => {
    json(response, path === 'POST /v1/tickets' ? 200 : 404, { ticket: 'once & only' });
  });
  const sockets = new WebSocketServer({ server });
  const relay = connect(url, { session: 's?', token: 'secret', after: `${EPOCH}.4` });
  const [socket, request] = /** @type {[import('ws').WebSocket, http.IncomingMessage]} */ (await once(sockets, 'connection'));
  const { searchParams, pathname } = new URL(String(request.url), 'http://x');
  assert.deepEqual([pathname, ...searchParams], ['/v1/ws', ['session', 's?'], ['after', `${EPOCH}.4`], ['ticket', 'once & only']]);
  assert.equal(request.headers['sec-websocket-protocol'], 'x0-relay.v1');
  assert.deepEqual(asked.map(({ path, body, headers }) => [path, body, headers.authorization]), [['POST /v1/tickets', { session: 's?' }, 'Bearer secret']]);
  socket.send(JSON.stringify({ type: 'welcome', session: 's?', cursor: `${EPOCH}.4`, window: 256 }));
  socket.send(JSON.stringify({ type: 'what is this', new: true }));
  socket.send(JSON.stringify({ type: 'messages', messages: [message(5, 'five')], cursor: `${EPOCH}.5` }));
  const sent = relay.send('x', { a: 1 }, { type: 'note', ttl: 9, key: 'k' });
  assert.deepEqual(await take(relay, 1), ['five']);
  /** @type {any[]} */
  const frames = [];
  socket.on('message', (data) => frames.push(JSON.parse(String(data))));
  while (frames.length < 2) await new Promise(setImmediate);
  const send = frames.find(({ type }) => type === 'send');
  assert.deepEqual(send, { type: 'send', ref: send.ref, to: ['session:x'], payload: { a: 1 }, from: 's?', message_type: 'note', ttl: 9, key: 'k' });
  assert.deepEqual(frames.find(({ type }) => type === 'ack'), { type: 'ack', cursor: `${EPOCH}.5` });
  socket.send(JSON.stringify({ type: 'sent', ref: send.ref, id: 'i', recipients: 1, duplicate: false }));
  assert.deepEqual(await sent, { id: 'i', recipients: 1, duplicate: false });
  relay.close();
  await once(socket, 'close');
  close();
});
