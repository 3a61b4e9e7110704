// The minified client against the relay itself, over real connections: restarts, proxies, takeovers.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { WebSocket as OtherWebSocket } from 'ws';
import { connect } from '../dist/x0-relay.min.js';
import { missing, pipeTo, proxyTo, Relay } from './support/relay.js';
import { SECRET, signedSession, token } from './support/tokens.js';

const reason = missing();
if (reason) console.log(`SKIPPED the client against the real relay: ${reason}`);
const skip = reason && `SKIPPED: ${reason}`;
const TRANSPORTS = /** @type {const} */ (['websocket', 'sse', 'poll']);
/** Long enough for any machine, and however much it has to do. */
const PROMPT = 60_000;

/** @typedef {import('../dist/x0-relay.js').Relay} Client */

/** A story with a relay; whatever it opens is closed at its end. @param {string} name @param {(stage: Stage) => Promise<void>} run */
function story(name, run) {
  test(name, { skip, timeout: 240_000 }, async () => {
    const stage = new Stage();
    try {
      await run(stage);
    } catch (error) {
      console.log(stage.relay?.log.slice(-20).join('\n'));
      throw error;
    } finally {
      await stage.clear();
    }
  });
}

class Stage {
  /** @type {(() => unknown)[]} */
  ends = [];
  /** @type {Relay | undefined} */
  relay = undefined;

  /** @param {string[]} [args] */
  async start(args) {
    this.relay = await Relay.start(args);
    this.ends.push(() => this.relay?.stop('SIGKILL'));
    return this.relay;
  }

  /** A relay that asks who somebody is. */
  async startAsking() {
    const directory = await mkdtemp(join(tmpdir(), 'x0-client-'));
    this.ends.push(() => rm(directory, { recursive: true, force: true }));
    const keys = join(directory, 'keys');
    await writeFile(keys, SECRET, { mode: 0o600 });
    return this.start(['--auth', 'jwt,signed', '--jwt-keys', keys, '--signed-keys', keys]);
  }

  /** @template {{ close(): unknown }} T @param {T} thing @returns {T} */
  own(thing) {
    this.ends.unshift(() => thing.close());
    return thing;
  }

  /** A client, and what it gets. @param {string} url @param {any} options */
  client(url, options) {
    const client = this.own(connect(url, options));
    const got = /** @type {any[]} */ ([]);
    const gaps = /** @type {any[]} */ ([]);
    const states = /** @type {string[]} */ ([]);
    client.on('message', ({ payload }) => void got.push(payload));
    client.on('gap', (gap) => gaps.push(gap));
    client.on('state', (state) => states.push(/** @type {any} */ (state).transport ?? state.name));
    client.on('error', (error) => console.log(`# told: ${error}`));
    return { client, got, gaps, states };
  }

  async clear() {
    for (const end of this.ends) await end();
  }
}

/** Waits for an event after which something is so. @param {Client} client @param {'state' | 'message' | 'gap'} name @param {() => unknown} isSo @param {number} [ms] */
async function until(client, name, isSo, ms = PROMPT) {
  if (isSo()) return;
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not so after ${ms} ms: ${isSo}; ${JSON.stringify(client.state)}`)), ms);
    const off = client.on(name, () => {
      if (!isSo()) return;
      off();
      clearTimeout(timer);
      resolve(undefined);
    });
  });
}

/** @param {Client} client @param {string} transport @param {number} [ms] */
const online = (client, transport, ms) => until(client, 'state', () => /** @type {any} */ (client.state).transport === transport, ms);

/** Acknowledgements are on their way when a listener returns. @param {Relay} relay @param {string} session @param {number} count @param {string} [shown] */
async function pendingIs(relay, session, count, shown) {
  const deadline = Date.now() + PROMPT;
  for (let pending; (pending = await relay.pending(session, shown)) !== count; ) assert(Date.now() < deadline, `${pending} messages wait`);
}

for (const transport of TRANSPORTS) {
  story(`messages both ways over ${transport}, in order, acknowledged`, async (stage) => {
    const relay = await stage.start();
    const a = stage.client(relay.url, { session: 'a', transports: [transport] });
    const b = stage.client(relay.url, { session: 'b/ä ?', transports: [transport] });
    a.client.on('message', ({ from, payload }) => void (from === 'b/ä ?' && payload.n < 20 && a.client.send(from, { echo: payload.n })));
    await online(a.client, transport);
    await online(b.client, transport);
    const sent = await Promise.all(Array.from({ length: 40 }, (_, n) => b.client.send('a', { n }, { type: 'count', ttl: 60 })));
    assert(sent.every(({ id, recipients, duplicate }) => id.length === 36 && recipients === 1 && !duplicate));
    await until(a.client, 'message', () => a.got.length === 40);
    await until(b.client, 'message', () => b.got.length === 20);
    assert.deepEqual(a.got, Array.from({ length: 40 }, (_, n) => ({ n })));
    assert.deepEqual(b.got, Array.from({ length: 20 }, (_, n) => ({ echo: n })));
    await pendingIs(relay, 'a', 0);
    assert.equal(a.states.at(-1), transport);
  });
}

story('the same over another WebSocket class', async (stage) => {
  const relay = await stage.start();
  const { client, got } = stage.client(relay.url, { session: 'a', WebSocket: OtherWebSocket, transports: ['websocket'] });
  await online(client, 'websocket');
  await client.send('a', 'text with   and \u{1f600}');
  await until(client, 'message', () => got.length);
  assert.deepEqual(got, ['text with   and \u{1f600}']);
});

for (const signal of /** @type {const} */ (['SIGTERM', 'SIGKILL'])) {
  story(`a relay with a data directory that restarts (${signal}) loses and doubles nothing`, async (stage) => {
    const directory = await mkdtemp(join(tmpdir(), 'x0-client-'));
    stage.ends.push(() => rm(directory, { recursive: true, force: true }));
    await stage.start(['--data-dir', directory]);
    const url = /** @type {Relay} */ (stage.relay).url;
    const clients = TRANSPORTS.map((transport) => stage.client(url, { session: `to-${transport}`, transports: [transport] }));
    const sender = stage.client(url, { session: 'sender' });
    await Promise.all(clients.map(({ client }, index) => online(client, TRANSPORTS[index])));
    const TOTAL = 150;
    const sends = [];
    for (let n = 0; n < TOTAL; n++) {
      sends.push(sender.client.send(TRANSPORTS.map((transport) => `to-${transport}`), n));
      if (n % 10 === 0) await sends[n];
      if (n === 50 || n === 100) stage.relay = await /** @type {Relay} */ (stage.relay).restart(signal);
    }
    await Promise.all(sends);
    for (const { client, got, gaps } of clients) {
      await until(client, 'message', () => got.length >= TOTAL);
      assert.deepEqual(got, [...Array(TOTAL).keys()]);
      assert.deepEqual(gaps, []);
    }
  });
}

story('a relay without a data directory that restarts begins a new epoch, and says so', async (stage) => {
  const first = await stage.start();
  const clients = TRANSPORTS.map((transport) => stage.client(first.url, { session: `to-${transport}`, transports: [transport] }));
  await Promise.all(clients.map(({ client }, index) => online(client, TRANSPORTS[index])));
  for (const transport of TRANSPORTS) await first.send(`to-${transport}`, 'before');
  for (const { client, got } of clients) await until(client, 'message', () => got.length === 1);
  const second = (stage.relay = await first.restart('SIGTERM'));
  for (const transport of TRANSPORTS) await second.send(`to-${transport}`, 'after');
  for (const { client, got, gaps } of clients) {
    await until(client, 'message', () => got.length === 2);
    assert.deepEqual([got, gaps], [['before', 'after'], [{ from: null, to: null, reason: 'epoch' }]]);
  }
});

story('where a proxy refuses WebSockets, events come, and soon', async (stage) => {
  const relay = await stage.start();
  const proxy = stage.own(await proxyTo(relay.url, { websockets: 'refuse' }));
  const start = Date.now();
  const { client, got, states } = stage.client(/** @type {string} */ (proxy.url), { session: 'a' });
  await online(client, 'sse');
  console.log(`# over events after ${Date.now() - start} ms`);
  await client.send('a', 1);
  await until(client, 'message', () => got.length);
  assert(!states.includes('websocket'));
});

story('where a proxy swallows WebSockets and holds back streams, polls come within seconds', async (stage) => {
  const relay = await stage.start();
  const proxy = stage.own(await proxyTo(relay.url, { websockets: 'swallow', buffers: true }));
  const start = Date.now();
  const { client, got, states } = stage.client(/** @type {string} */ (proxy.url), { session: 'a' });
  await online(client, 'poll');
  console.log(`# over polls after ${Date.now() - start} ms`);
  await client.send('a', 1);
  await until(client, 'message', () => got.length);
  assert.equal(states.at(-1), 'poll');
  assert(!states.includes('superseded'));
});

story('connections that are cut all the time lose and double nothing', async (stage) => {
  const relay = await stage.start();
  const pipe = stage.own(await pipeTo(relay.url));
  const { client, got, gaps, states } = stage.client(/** @type {string} */ (pipe.url), { session: 'a' });
  await online(client, 'websocket');
  const TOTAL = 120;
  const sends = [];
  for (let n = 0; n < TOTAL; n++) {
    sends.push(client.send('a', n));
    // More often, and its pauses would be most of this test's time.
    if (n % 30 === 29) {
      await Promise.race(sends.slice(-3));
      pipe.cut();
      await until(client, 'state', () => client.state.name === 'online');
    }
  }
  await Promise.all(sends);
  await until(client, 'message', () => got.length >= TOTAL);
  assert.deepEqual([got, gaps], [[...Array(TOTAL).keys()], []]);
  assert(!states.includes('superseded'), 'it took itself for another tab');
  await pendingIs(relay, 'a', 0);
});

/** Which of two clients with one session has it, once the other rests. @typedef {ReturnType<Stage['client']>} Told @param {Told[]} both @returns {Promise<Told[]>} */
async function settled(both) {
  for (;;) {
    const [holder, resting] = ['online', 'superseded'].map((name) => both.find(({ client }) => client.state.name === name));
    if (holder && resting) return [holder, resting];
    await new Promise((done) => both.forEach(({ client }) => client.on('state', done)));
  }
}

story('two clients with one session: one has it, the other rests until it is asked', async (stage) => {
  const relay = await stage.start();
  for (const transport of TRANSPORTS) {
    const session = `one-${transport}`;
    const one = stage.client(relay.url, { session, transports: [transport] });
    await online(one.client, transport);
    // The newer one has it; but on a machine so slow that the first connection was given up, the older takes that for its own
    // doing, once.
    const [holder, resting] = await settled([one, stage.client(relay.url, { session, transports: [transport] })]);
    await resting.client.send(session, 'to the one that has it');
    await until(holder.client, 'message', () => holder.got.length);
    // What is not acknowledged goes to whoever comes next.
    await pendingIs(relay, session, 0);
    resting.client.resume();
    const [second, first] = await settled([holder, resting]);
    await first.client.send(session, 'and again');
    await until(second.client, 'message', () => second.got.includes('and again'));
    assert.deepEqual([...holder.got, ...resting.got], ['to the one that has it', 'and again']);
  }
});

story('gaps of a purge, and of a mailbox that drops its oldest', async (stage) => {
  const relay = await stage.start(['--mailbox-messages', '3', '--overflow', 'drop-oldest']);
  for (const transport of TRANSPORTS) {
    const session = `gap-${transport}`;
    const first = stage.client(relay.url, { session, transports: [transport] });
    await first.client.send(session, 0);
    await until(first.client, 'message', () => first.got.length);
    await pendingIs(relay, session, 0);
    const after = first.client.cursor;
    first.client.close();
    for (let n = 1; n <= 5; n++) await relay.send(session, n);
    const second = stage.client(relay.url, { session, transports: [transport], after });
    await until(second.client, 'message', () => second.got.length === 3);
    assert.deepEqual([second.got, second.gaps], [[3, 4, 5], [{ from: 2, to: 3, reason: 'overflow' }]]);
  }
});

story('refusals: too large in any size, a bad address, a full mailbox', async (stage) => {
  const relay = await stage.start(['--mailbox-messages', '1']);
  const { client } = stage.client(relay.url, { session: 'a', patience: 500 });
  await online(client, 'websocket');
  for (const bytes of [66_000, 400_000]) {
    const error = await client.send('b', 'x'.repeat(bytes)).catch((error) => error);
    assert.deepEqual([error.code, error.status, error.kind], ['refused', 413, 'too_large'], `${bytes} bytes`);
  }
  const { kind } = await client.send('carrier-pigeon:b', 1).catch((error) => error);
  assert.equal(kind, 'invalid_address');
  await client.send('full', 1);
  const full = await client.send('full', 2).catch((error) => error);
  assert.deepEqual([full.status, full.kind], [507, 'mailbox_full']);
  assert.deepEqual(full.addresses, ['session:full']);
  await until(client, 'state', () => client.state.name === 'online');
  assert.equal((await client.send('b', 'fits')).recipients, 1);
});

story('a relay that is not there is waited for', async (stage) => {
  const relay = await stage.start();
  await relay.stop();
  const { client, got } = stage.client(relay.url, { session: 'a' });
  const sent = client.send('a', 'early');
  await until(client, 'state', () => client.state.name === 'offline');
  assert.equal(client.unsent, 1);
  stage.relay = await Relay.start([], relay.url.replace('http://', ''));
  assert.equal((await sent).duplicate, false);
  await until(client, 'message', () => got.length);
  await online(client, 'websocket');
});

story('a token that expires is renewed, over every transport, and nothing is lost or doubled', async (stage) => {
  const relay = await stage.startAsking();
  await Promise.all(TRANSPORTS.map(async (transport) => {
    const session = `ann-${transport}`;
    let asked = 0;
    // The first has expired, but for the seconds that the relay grants.
    const source = async () => token(asked++ ? 3600 : -7);
    const { client, got, gaps, states } = stage.client(relay.url, { session, token: source, transports: [transport] });
    await online(client, transport);
    const sends = [];
    for (let n = 0; n < 12; n++) {
      sends.push(client.send(session, n));
      await new Promise((done) => setTimeout(done, 500));
    }
    await Promise.all(sends);
    await until(client, 'message', () => got.length >= 12);
    assert.deepEqual([got, gaps], [[...Array(12).keys()], []]);
    assert(asked > 1 && asked < 5, `${asked} tokens`);
    assert(!states.includes('superseded'));
    await pendingIs(relay, session, 0, token(60));
  }));
});

story('a signed session is a token too; what it does not allow is refused', async (stage) => {
  const relay = await stage.startAsking();
  const shown = signedSession('page-1', 3600);
  for (const transport of TRANSPORTS) {
    const { client, got } = stage.client(relay.url, { session: 'page-1', token: shown, transports: [transport] });
    await online(client, transport);
    await client.send('page-1', transport);
    await until(client, 'message', () => got.length);
    assert.deepEqual(got, [transport]);
    const { status, kind } = await client.send('org:acme/page-1', 1).catch((error) => error);
    assert.deepEqual([status, kind], [403, 'forbidden'], transport);
    client.close();
    await pendingIs(relay, 'page-1', 0, shown);
  }
  const stranger = stage.client(relay.url, { session: 'page-2', token: shown });
  await until(stranger.client, 'state', () => stranger.client.state.name === 'offline');
  const { error } = /** @type {any} */ (stranger.client.state);
  assert.deepEqual([error.status, error.kind], [403, 'forbidden']);
  const nobody = stage.client(relay.url, { session: 'page-1', transports: ['poll'] });
  await until(nobody.client, 'state', () => nobody.client.state.name === 'offline');
  assert.equal(/** @type {any} */ (nobody.client.state).error.kind, 'unauthorized');
});
