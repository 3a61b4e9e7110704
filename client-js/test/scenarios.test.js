// What a page goes through, one story at a time: the minified client against the model of the relay, in simulated time.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Page, Storage } from './support/client.js';
import { Model } from './support/model.js';
import { Network } from './support/network.js';
import { World } from './support/world.js';

const MINUTE = 60_000;

/** A world with one page; `options` are the client's. @param {any} [options] @param {(network: Network) => void} [prepare] */
function setUp(options = {}, prepare = () => {}) {
  const world = new World(7);
  const model = new Model(world.random, () => world.now);
  const network = new Network(world, model);
  prepare(network);
  const page = new Page(world, network);
  const start = world.now;
  const relay = page.connect({ session: 'a', ...options });
  /** @type {any[]} */
  const states = [];
  /** @type {any[]} */
  const got = [];
  /** @type {any[]} */
  const gaps = [];
  /** @type {any[]} */
  const errors = [];
  relay.on('state', (state) => states.push({ ...state, at: world.now - start }));
  relay.on('gap', (gap) => gaps.push({ ...gap }));
  relay.on('error', (error) => errors.push(error));
  const listen = () => relay.on('message', ({ payload }) => void got.push(payload));
  const publish = (/** @type {unknown[]} */ ...payloads) => payloads.forEach((payload) => model.send({ to: 'a', payload }));
  const online = (/** @type {string} */ transport, ms = 10_000) =>
    world.pass(ms, () => /** @type {any} */ (relay.state).transport === transport);
  const asked = (/** @type {string} */ what) => network.asked.filter((one) => one.what === what);
  return { world, model, network, page, relay, states, got, gaps, errors, listen, publish, online, asked };
}

const names = (/** @type {any[]} */ states) => states.map(({ name, transport }) => transport ?? name);

test('a WebSocket comes first, and messages come in order and are acknowledged', async () => {
  const { world, model, relay, got, listen, publish, online } = setUp();
  assert.equal(relay.state.name, 'connecting');
  publish(1, 2, 3);
  listen();
  assert(await online('websocket'));
  publish(4);
  await world.pass(1000);
  assert.deepEqual(got, [1, 2, 3, 4]);
  assert.equal(model.mailbox('a').messages.size, 0);
  assert.equal(relay.cursor, model.mailbox('a').at(4));
});

test('where WebSockets are refused, events come at once', async () => {
  const { world, states, asked, online, got, listen, publish } = setUp({}, (network) => (network.websockets = 'refuse'));
  listen();
  assert(await online('sse', 500));
  publish('over sse');
  await world.pass(1000);
  assert.deepEqual([names(states), got, asked('POST /v1/ack').length], [['sse'], ['over sse'], 1]);
});

test('where WebSockets are swallowed and streams held back, polls come within seconds', async () => {
  const blocked = (/** @type {Network} */ network) => Object.assign(network, { websockets: 'swallow', streams: 'buffer' });
  const { world, states, online, got, listen, publish } = setUp({}, blocked);
  listen();
  assert(await online('poll', 15_000));
  publish('over poll');
  await world.pass(MINUTE, () => got.length > 0);
  assert.deepEqual(got, ['over poll']);
  assert.equal(states[0].name, 'poll' === states[0].transport ? 'online' : 'connecting');
  assert(states[0].at < 13_000, `${states[0].at} ms`);
});

test('a WebSocket that is cut again and again is left, without a flood, and tried again later', async () => {
  const { world, network, states, asked, online } = setUp();
  assert(await online('websocket'));
  const cutting = () => {
    for (const connection of /** @type {any[]} */ ([...network.connections])) if (connection.say) connection.cut();
    world.setTimeout(cutting, 3000);
  };
  cutting();
  await world.pass(10 * MINUTE);
  const share = states.filter(({ transport }) => transport === 'sse').length;
  assert(share > 0 && asked('websocket').length < 25, `${asked('websocket').length} WebSockets, ${share} times sse`);
  const { name, transport } = /** @type {any} */ (states.at(-1));
  assert.deepEqual([name, transport], ['online', 'sse']);
});

test('what is better is tried in the background, and the working one stays until its welcome', async () => {
  const { world, network, states, got, listen, publish, online, asked } = setUp({}, (network) => (network.websockets = 'swallow'));
  listen();
  assert(await online('sse'));
  const probed = () => asked('websocket').length > 2;
  assert(await world.pass(5 * MINUTE, probed));
  publish('beside a probe');
  await world.pass(1000);
  assert.deepEqual(got, ['beside a probe']);
  network.websockets = 'pass';
  assert(await online('websocket', 11 * MINUTE));
  publish('after it');
  await world.pass(1000);
  assert.deepEqual(got, ['beside a probe', 'after it']);
  assert.deepEqual(names(states), ['sse', 'websocket'], 'no state in between');
});

test('a goodbye says when to come back, and that is when it comes back', async () => {
  const { world, network, states, online, asked } = setUp();
  assert(await online('websocket'));
  for (const connection of /** @type {any[]} */ ([...network.connections])) {
    connection.end({ type: 'goodbye', reason: 'drain', retry_after: 2.7 }, 1012);
  }
  const gone = world.now;
  await world.pass(100);
  const { name, nextTry } = states.at(-1);
  assert.equal(name, 'offline');
  assert(nextTry >= gone + 2700 && nextTry < gone + 3400, `${nextTry - gone} ms`);
  assert(await online('websocket'));
  assert(asked('websocket')[1].at >= gone + 2700);
});

test('Retry-After holds back receiving and sending', async () => {
  const { world, network, online, asked, relay } = setUp({ transports: ['sse'] });
  assert(await online('sse'));
  network.refuse = () => ({ status: 503, retryAfter: 7 });
  const sent = relay.send('b', 1);
  await world.pass(1000);
  network.refuse = undefined;
  await world.pass(5500);
  assert.equal(asked('POST /v1/messages').length, 1);
  await world.pass(1500);
  assert.equal(asked('POST /v1/messages').length, 2);
  assert.equal((await sent).recipients, 1);
});

test('a long outage is met with patience, and its end at once where the browser tells', async () => {
  const { world, network, states, online, page, relay, asked } = setUp();
  assert(await online('websocket'));
  network.state = 'down';
  network.cut();
  await world.pass(60 * MINUTE);
  const attempts = network.asked.length;
  assert(attempts > 60 && attempts < 400, `${attempts} requests in an hour`);
  const { name, since, nextTry, error } = states.at(-1);
  assert.equal(name, 'offline');
  assert(since < world.now - 59 * MINUTE && (nextTry === null || nextTry > world.now - 1000));
  assert.equal(error.code, 'network');
  network.state = 'up';
  page.tell('online');
  assert(await world.pass(1000, () => relay.state.name === 'online'), 'it waits though the network is back');
  assert(await online('websocket', MINUTE));
  assert(asked('websocket').length > 10);
});

test('a laptop that slept finds its dead connection quickly', async () => {
  for (const [wake, limit] of /** @type {const} */ ([['visible', 12_000], ['nothing', 40_000]])) {
    for (const transport of /** @type {const} */ (['websocket', 'sse', 'poll'])) {
      const { world, network, page, relay, got, listen, publish } = setUp({ transports: [transport] });
      listen();
      await world.pass(5 * MINUTE);
      network.swallow();
      world.sleep(60 * MINUTE);
      publish('while asleep');
      if (wake === 'visible') page.hide(false);
      assert(await world.pass(limit, () => got.length > 0), `${transport}, woken by ${wake}`);
      assert.equal(relay.state.name, 'online');
    }
  }
});

test('a connection that is alive after a sleep is kept', async () => {
  for (const transport of /** @type {const} */ (['websocket', 'sse'])) {
    const { world, network, page, states, online } = setUp({ transports: [transport] });
    assert(await online(transport));
    await world.pass(10_000);
    const before = network.asked.length;
    world.sleep(transport === 'sse' ? 12_000 : 30 * MINUTE);
    page.hide(false);
    await world.pass(10_000);
    assert.deepEqual([network.asked.length, states.length], [before, 1], transport);
  }
});

test('when the network is there again, a new connection takes the place of one that may never end, at once', async () => {
  for (const transport of /** @type {const} */ (['websocket', 'sse', 'poll'])) {
    for (const dead of [true, false]) {
      const { world, network, page, states, got, listen, publish, online, model } = setUp({ transports: [transport] });
      listen();
      assert(await online(transport));
      await world.pass(5000);
      if (dead) network.swallow();
      publish('meanwhile');
      page.tell('online');
      page.tell('online');
      assert(await world.pass(500, () => got.length > 0), `${transport}, ${dead}`);
      publish('after');
      await world.pass(20_000);
      assert.deepEqual(got, ['meanwhile', 'after']);
      assert.equal(model.mailbox('a').messages.size, 0);
      assert(states.every(({ name }) => name === 'online'), `${names(states)}`);
    }
  }
});

test('when the network goes it is seen at once, and when it comes, whatever is under way', async () => {
  for (const transport of /** @type {const} */ (['websocket', 'sse', 'poll'])) {
    for (const way of /** @type {const} */ (['hole', 'down'])) {
      const { world, network, page, relay, got, listen, publish, online } = setUp({ transports: [transport] });
      listen();
      assert(await online(transport));
      publish(1);
      await world.pass(100);
      network.swallow();
      network.state = way;
      page.tell('offline');
      assert.notEqual(relay.state.name, 'online', 'nobody waits for an answer');
      publish(2);
      await world.pass(10_000);
      assert.equal(relay.state.name, 'offline');
      network.state = 'up';
      page.tell('online');
      assert(await world.pass(500, () => got.length === 2), `${transport}, ${way}`);
      assert.deepEqual([got, relay.state.name], [[1, 2], 'online']);
    }
  }
});

test('an online event without a network behind it ends nothing that works', async () => {
  const { world, network, page, relay, states, got, listen, publish, online } = setUp();
  listen();
  assert(await online('websocket'));
  await world.pass(MINUTE);
  network.websockets = 'refuse';
  page.tell('online');
  await world.pass(1000);
  publish('over the old one');
  await world.pass(1000);
  assert.deepEqual([got, names(states), relay.state.name], [['over the old one'], ['websocket'], 'online']);
  network.websockets = 'pass';
  network.cut();
  assert(await online('websocket', 2000));
});

test('a page that is put away closes its connection, and opens one when it is taken out', async () => {
  const { world, network, page, online, relay, got, listen, publish } = setUp();
  listen();
  assert(await online('websocket'));
  page.tell('pagehide');
  await world.pass(1000);
  assert.equal(network.connections.size, 0);
  publish('while away');
  await world.pass(10 * MINUTE);
  assert.equal(relay.state.name, 'offline');
  page.tell('pageshow');
  assert(await online('websocket', 1000));
  await world.pass(1000);
  assert.deepEqual(got, ['while away']);
});

test('superseded by another tab, it rests until it is asked or seen', async () => {
  for (const comeBack of /** @type {const} */ (['resume', 'visible'])) {
    const { world, model, network, page, online, relay, states } = setUp();
    assert(await online('websocket'));
    await world.pass(MINUTE);
    const other = new Page(world, new Network(world, model));
    const taker = other.connect({ session: 'a' });
    await world.pass(1000);
    assert.deepEqual([relay.state.name, taker.state.name], ['superseded', 'online']);
    const before = network.asked.length;
    page.tell('online');
    page.hide(true);
    await world.pass(60 * MINUTE);
    assert.equal(network.asked.length, before, 'it does not fight');
    const sent = relay.send('elsewhere', 'still possible');
    await world.pass(1000);
    assert.equal((await sent).recipients, 1);
    if (comeBack === 'resume') relay.resume();
    else page.hide(false);
    await world.pass(1000);
    assert.deepEqual([relay.state.name, taker.state.name], ['online', 'superseded']);
    assert(names(states).includes('superseded'));
  }
});

test('a listener that fails is called again with the same message, then it is given up', async () => {
  const { world, model, relay, errors, publish, online } = setUp({ attempts: 3 });
  /** @type {any[]} */
  const calls = [];
  relay.on('message', async ({ payload }) => {
    calls.push(payload);
    if (payload === 'bad') throw new Error('cannot');
  });
  publish('good', 'bad', 'next');
  assert(await online('websocket'));
  await world.pass(200);
  assert.equal(model.mailbox('a').messages.size, 2, 'what fails is not acknowledged');
  await world.pass(MINUTE);
  assert.deepEqual(calls, ['good', 'bad', 'bad', 'bad', 'next']);
  assert.deepEqual(errors.map(({ code, final, received }) => [code, final, received.payload]), [
    ['listener', false, 'bad'], ['listener', false, 'bad'], ['listener', true, 'bad'],
  ]);
  assert.equal(model.mailbox('a').messages.size, 0);
});

test('without a listener for errors they are in the console', async () => {
  const { world, network, page } = setUp();
  const relay = new Page(world, network);
  const client = relay.connect({ session: 'b', attempts: 1 });
  client.on('message', () => {
    throw new Error('cannot');
  });
  client.send('b', 1);
  await world.pass(1000);
  assert.equal(/** @type {any} */ (relay.complaints[0]).code, 'listener');
  assert.deepEqual(page.complaints, []);
});

test('a message is acknowledged when its listener is done, over every transport', async () => {
  for (const transport of /** @type {const} */ (['websocket', 'sse', 'poll'])) {
    const { world, model, relay, publish, online } = setUp({ transports: [transport] });
    /** @type {(() => void)[]} */
    const finish = [];
    relay.on('message', () => new Promise((done) => finish.push(() => done(undefined))));
    assert(await online(transport));
    publish(...Array(20).keys());
    // Longer than any silence may be: a listener that takes its time is none.
    await world.pass(5 * MINUTE);
    assert.equal(model.mailbox('a').messages.size, 20, transport);
    for (let count = 0; count < 20; count++) {
      assert.equal(finish.length, count + 1, 'one at a time');
      finish[count]();
      await world.pass(200);
      if (transport === 'websocket') assert.equal(model.mailbox('a').messages.size, 19 - count);
    }
    await world.pass(10_000);
    assert.equal(model.mailbox('a').messages.size, 0, transport);
    assert.equal(relay.state.name, 'online');
  }
});

test('messages wait until somebody listens', async () => {
  const { world, model, got, listen, publish, online } = setUp();
  publish(1, 2);
  assert(await online('websocket'));
  await world.pass(MINUTE);
  assert.equal(model.mailbox('a').messages.size, 2);
  listen();
  await world.pass(1000);
  assert.deepEqual(got, [1, 2]);
  assert.equal(model.mailbox('a').messages.size, 0);
});

test('messages can be iterated; a loop that is left has handled its last', async () => {
  const { world, model, relay, publish, online } = setUp();
  publish(1, 2, 3);
  assert(await online('websocket'));
  const loop = async (/** @type {number} */ last) => {
    const seen = [];
    for await (const { payload } of relay) {
      seen.push(payload);
      if (payload === last) break;
    }
    return seen;
  };
  const first = loop(2);
  await world.pass(1000);
  assert.deepEqual(await first, [1, 2]);
  assert.equal(model.mailbox('a').messages.size, 1);
  const rest = loop(99);
  await world.pass(1000);
  publish(4);
  await world.pass(1000);
  assert.equal(model.mailbox('a').messages.size, 0, 'asking for the next one says that the last is handled');
  relay.close();
  await world.pass(1000);
  assert.deepEqual(await rest, [3, 4]);
});

test('a send that the relay refuses for good is rejected with what it said', async () => {
  const { world, network, relay, online } = setUp();
  assert(await online('websocket'));
  network.refuse = () => ({ status: 413, kind: 'too_large', title: 'Message too large', detail: 'payload has 70000 bytes' });
  const error = relay.send('b', 'x').catch((error) => error);
  await world.pass(1000);
  const { name, code, status, kind, message, sent } = await error;
  assert.deepEqual([name, code, status, kind, message], ['RelayError', 'refused', 413, 'too_large', 'payload has 70000 bytes']);
  assert.equal(sent.payload, 'x');
});

test('a full mailbox is tried again for a while, and holds up its own messages only', async () => {
  const { world, network, model, relay, online } = setUp({ patience: 60_000 });
  assert(await online('websocket'));
  let full = true;
  const refuse = { status: 507, kind: 'mailbox_full', detail: 'full' };
  const { send } = model;
  model.send = (draft) => {
    if (full && draft.to[0] === 'session:full') throw Object.assign(new Error('full'), refuse);
    return send.call(model, draft);
  };
  network.websockets = 'refuse';
  network.cut();
  assert(await online('sse'));
  /** @type {string[]} */
  const order = [];
  const say = (/** @type {string} */ to, /** @type {number} */ n) => relay.send(to, n).then(() => order.push(`${to} ${n}`), ({ kind }) => order.push(kind));
  say('full', 1);
  say('session:full', 2);
  say('free', 3);
  await world.pass(5000);
  assert.deepEqual(order, ['free 3']);
  full = false;
  await world.pass(20_000);
  assert.deepEqual(order, ['free 3', 'full 1', 'session:full 2']);
  full = true;
  order.length = 0;
  say('full', 4);
  await world.pass(2 * MINUTE);
  assert.deepEqual(order, ['mailbox_full']);
});

test('what is sent offline waits in a bounded queue, and goes out when it can', async () => {
  const { world, network, relay, model, online } = setUp({ queue: 3 });
  network.state = 'down';
  network.cut();
  const sends = [1, 2, 3].map((n) => relay.send('b', n));
  assert.equal(relay.unsent, 3);
  const { code } = await relay.send('b', 4).catch((error) => error);
  assert.equal(code, 'queue_full');
  await world.pass(60 * MINUTE);
  network.state = 'up';
  assert(await online('websocket', MINUTE));
  await world.pass(1000);
  for (const { duplicate } of await Promise.all(sends)) assert.equal(duplicate, false);
  assert.deepEqual(model.log.map(({ message }) => message.payload), [1, 2, 3]);
});

test('a send whose answer was lost is not doubled', async () => {
  for (const transport of /** @type {const} */ (['websocket', 'sse'])) {
    const { world, network, relay, model, online } = setUp({ transports: [transport] });
    assert(await online(transport));
    network.lostAnswers = 2;
    const sent = relay.send('b', 1);
    await world.pass(MINUTE);
    assert.equal((await sent).duplicate, true);
    assert.equal(model.log.length, 1);
  }
});

test('a send of which nobody can know any more fails as uncertain', async () => {
  const { world, network, relay, model, online } = setUp();
  assert(await online('websocket'));
  network.state = 'hole';
  const sent = relay.send('b', 1).catch((error) => error);
  const later = relay.send('b', 2, { ttl: 60 }).catch((error) => error);
  network.swallow();
  await world.pass(11 * MINUTE);
  const never = relay.send('b', 3);
  network.state = 'up';
  await online('websocket', 2 * MINUTE);
  await world.pass(1000);
  assert.equal((await sent).code, 'uncertain');
  assert.equal((await later).code, 'uncertain');
  assert.equal((await never).duplicate, false);
  assert.deepEqual(model.log.map(({ message }) => message.payload), [3]);
});

test('closing ends everything', async () => {
  const { world, network, relay, states, page, online } = setUp();
  assert(await online('websocket'));
  network.state = 'hole';
  const sent = relay.send('b', 1).catch((error) => error);
  relay.close();
  relay.close();
  assert.equal((await sent).code, 'closed');
  assert.equal((await relay.send('b', 2).catch((error) => error)).code, 'closed');
  page.hide(false);
  page.tell('online');
  relay.resume();
  await world.pass(60 * MINUTE);
  assert.deepEqual(names(states), ['websocket', 'closed']);
  assert.deepEqual(world.timers, []);
});

test('a token is shown, asked for once, and again when it has expired', async () => {
  let asked = 0;
  const token = async () => `token-${++asked}`;
  const { world, network, relay, model, online, asked: requests } = setUp({ token }, (network) => (network.tokens = new Set(['token-1'])));
  assert(await online('websocket'));
  assert.equal(requests('POST /v1/tickets').length, 1, 'a WebSocket cannot show it: a ticket stands for it');
  assert.equal(asked, 1);
  network.tokens = new Set(['token-2']);
  for (const connection of /** @type {any[]} */ ([...network.connections])) connection.say({ type: 'expiring', in: 60 });
  await world.pass(1000);
  assert.equal(requests('auth token-2').length, 1);
  // Tokens that live no longer than that are announced again at once.
  for (let count = 0; count < 9; count++) {
    for (const connection of /** @type {any[]} */ ([...network.connections])) connection.say({ type: 'expiring', in: 50 });
    await world.pass(900);
  }
  assert.equal(asked, 2);
  network.websockets = 'refuse';
  network.tokens = new Set(['token-3']);
  network.cut();
  assert(await online('sse'));
  assert.equal(asked, 3);
  network.tokens = new Set(['token-4']);
  const sent = relay.send('b', 1);
  await world.pass(2000);
  assert.equal((await sent).recipients, 1);
  assert.deepEqual([asked, model.log.length], [4, 1]);
});

test('a token that is refused is replaced and the request repeated at once, once', async () => {
  for (const transport of /** @type {const} */ (['websocket', 'sse', 'poll'])) {
    let asked = 0;
    const token = () => `token-${++asked}`;
    const { world, network, relay, model, states, got, listen, publish, online } = setUp({ token, transports: [transport] }, (network) => (network.tokens = new Set(['token-2'])));
    listen();
    assert(await online(transport, 500));
    assert.deepEqual([asked, names(states)], [2, [transport]], transport);
    // What is acknowledged with a token that has expired is acknowledged with the next one.
    network.tokens = new Set(['token-3']);
    publish(1);
    await world.pass(500);
    const sent = relay.send('b', 1);
    await world.pass(500);
    assert.equal((await sent).recipients, 1);
    await world.pass(20_000);
    assert.deepEqual([got, model.mailbox('a').messages.size, relay.state.name], [[1], 0, 'online']);
    assert.equal(asked, transport === 'websocket' ? 2 : 3, 'a WebSocket that is open shows none');
    // Where no token is good, nobody is pestered.
    network.tokens = new Set();
    network.cut();
    const [before, calls] = [network.asked.length, asked];
    await world.pass(10 * MINUTE);
    assert(network.asked.length - before < 100 && asked - calls < 100, `${network.asked.length - before} requests, ${asked - calls} tokens`);
    const { name, error } = /** @type {any} */ (relay.state);
    assert.deepEqual([name, error.code, error.status], ['offline', 'refused', 401]);
    network.tokens = new Set([`token-${asked + 1}`, `token-${asked + 2}`]);
    relay.resume();
    assert(await online(transport, MINUTE));
  }
});

test('a token callback that has one token only is not asked twice for a request', async () => {
  let asked = 0;
  const { world, relay, asked: requests } = setUp({ token: () => (asked++, 'stale'), transports: ['poll'] }, (network) => (network.tokens = new Set()));
  await world.pass(100);
  assert.deepEqual([asked, requests('GET /v1/messages').length], [2, 1]);
  relay.close();
});

test('a token callback that fails is told, and asked again', async () => {
  let asked = 0;
  const token = async () => {
    if (++asked < 3) throw new Error('no session');
    return 'good';
  };
  const { states, online } = setUp({ token }, (network) => (network.tokens = new Set(['good'])));
  assert(await online('websocket', MINUTE) || (await online('sse')));
  assert.equal(asked, 3);
  const failures = states.filter(({ error }) => error).map(({ error }) => error.code);
  assert(failures.every((code) => code === 'token'), `${failures}`);
});

test('a relay without tickets is asked without one', async () => {
  const { online, asked, network } = setUp({ token: 'fixed' });
  network.tickets = /** @type {any} */ ({ add() { throw Object.assign(new Error('none'), { status: 404 }); } });
  assert(await online('websocket'));
  assert.equal(asked('POST /v1/tickets').length, 1);
});

test('a storage keeps the cursor and what is not sent', async () => {
  const storage = new Storage();
  const { world, model, network, relay, page, got, listen, publish, online } = setUp({ storage });
  listen();
  publish(1, 2);
  assert(await online('websocket'));
  await world.pass(1000);
  network.state = 'down';
  network.cut();
  await world.pass(1000);
  relay.send('b', 'kept', { type: 'note', ttl: 60, key: 'mine' }).catch(() => {});
  page.kill();
  network.state = 'up';
  publish(3);
  const next = new Page(world, network).connect({ session: 'a', storage });
  next.on('message', ({ payload }) => void got.push(payload));
  assert.equal(next.cursor, model.mailbox('a').at(2));
  assert.equal(next.unsent, 1);
  await world.pass(1000);
  assert.deepEqual(got, [1, 2, 3]);
  const { message } = model.log.find(({ session }) => session === 'b') ?? {};
  assert.deepEqual([message.payload, message.type, next.unsent], ['kept', 'note', 0]);
  const other = new Page(world, network).connect({ session: 'another', storage });
  assert.deepEqual([other.unsent, other.cursor], [0, undefined], 'another session has its own');
});

test('what an earlier page may have sent long ago is not sent again, but told', async () => {
  const storage = new Storage();
  const { world, network, relay, page, online, model } = setUp({ storage });
  assert(await online('websocket'));
  network.lostAnswers = 1;
  relay.send('b', 'maybe').catch(() => {});
  await world.pass(60, () => model.log.length > 0);
  page.kill();
  await world.pass(15 * MINUTE);
  const next = new Page(world, network).connect({ session: 'a', storage });
  /** @type {any[]} */
  const errors = [];
  next.on('error', (error) => errors.push(error));
  await world.pass(1000);
  assert.deepEqual(errors.map(({ code, sent }) => [code, sent.payload]), [['uncertain', 'maybe']]);
  assert.deepEqual([model.log.length, next.unsent, storage.items.size], [1, 0, 1]);
});

test('a storage that throws, or holds something else, is told and done without', async () => {
  const broken = {
    getItem: () => '{"cursor',
    setItem: () => { throw new Error('QuotaExceededError'); },
  };
  const { world, errors, got, listen, publish, online, page } = setUp({ storage: broken });
  listen();
  publish(1);
  assert(await online('websocket'));
  await world.pass(1000);
  assert.deepEqual(got, [1]);
  assert(errors.length > 0 && errors.every(({ code }) => code === 'storage'));
  assert.equal(/** @type {any} */ (page.complaints[0]).code, 'storage', 'before anybody could listen');
});

test('gaps are told once, where they are', async () => {
  const { world, model, network, got, gaps, listen, publish, online, relay } = setUp();
  listen();
  publish(1, 2, 3, 4, 5);
  model.mailbox('a').remove(2, 'expired');
  model.mailbox('a').remove(3, 'expired');
  assert(await online('websocket'));
  await world.pass(1000);
  assert.deepEqual([got, gaps], [[1, 4, 5], [{ from: 2, to: 3, reason: 'expired' }]]);
  network.cut();
  await world.pass(10_000);
  assert.equal(gaps.length, 1);
  model.forgetEverything();
  publish('new', 'epoch');
  network.cut();
  await world.pass(10_000);
  network.cut();
  await world.pass(10_000);
  assert.deepEqual(gaps.slice(1), [{ from: null, to: null, reason: 'epoch' }]);
  assert.deepEqual(got.slice(3), ['new', 'epoch']);
  assert.equal(relay.cursor, model.mailbox('a').at(2));
});

test('an epoch that begins while a listener is slow is told once, and nothing of it twice', async () => {
  const { world, model, network, relay, gaps, publish, online } = setUp();
  /** @type {any[]} */
  const got = [];
  let finish = () => {};
  relay.on('message', ({ payload }) => {
    got.push(payload);
    if (payload === 'slow') return new Promise((done) => (finish = () => done(undefined)));
  });
  assert(await online('websocket'));
  publish('slow', 'behind');
  await world.pass(1000);
  model.forgetEverything();
  publish('x', 'y');
  network.cut();
  await world.pass(20_000);
  network.cut();
  await world.pass(20_000);
  finish();
  await world.pass(1000);
  assert.deepEqual(got, ['slow', 'behind', 'x', 'y']);
  assert.deepEqual(gaps, [{ from: null, to: null, reason: 'epoch' }]);
  assert.equal(model.mailbox('a').messages.size, 0);
});

test('a cursor that the relay does not know is forgotten', async () => {
  for (const after of ['nonsense', '0123456789abcdef.7']) {
    const { world, got, gaps, listen, publish, online, relay, model } = setUp({ after });
    listen();
    publish(1);
    if (after !== 'nonsense') model.mailbox('a').epoch = '0123456789abcdef';
    assert((await online('sse', MINUTE)) && (await online('websocket', MINUTE)));
    await world.pass(1000);
    assert.deepEqual([got, gaps, relay.cursor], [[1], [], model.mailbox('a').at(1)]);
  }
});

test('something that answers polls at once and with nothing is not asked all the time', async () => {
  const { world, network, online, asked, relay } = setUp({ transports: ['poll'] });
  assert(await online('poll'));
  const timer = world.setTimeout.bind(world);
  // As if a cache answered.
  world.setTimeout = (run, ms = 0) => timer(run, ms === 10_000 ? 0 : ms);
  await world.pass(MINUTE);
  const count = asked('GET /v1/messages').length;
  assert(count > 30 && count < 80, `${count} polls in a minute`);
  assert.equal(relay.state.name, 'online');
  assert(network.connections.size <= 1);
});

test('a hidden page whose timers are a minute late stays online, and falls back all the same', async () => {
  const { world, network, page, relay, online, states, got, listen, publish } = setUp();
  listen();
  assert(await online('websocket'));
  page.lateness = () => MINUTE;
  await world.pass(30 * MINUTE);
  assert.equal(states.length, 1, 'late timers are no dead connection');
  network.websockets = 'swallow';
  network.swallow();
  publish('for a hidden page');
  assert(await world.pass(15 * MINUTE, () => got.length > 0));
  assert.equal(relay.state.name, 'online');
});

test('a wall clock that is put back stops nothing', async () => {
  const { world, network, page, relay, online } = setUp();
  assert(await online('websocket'));
  network.state = 'down';
  network.cut();
  await world.pass(MINUTE);
  page.setClock(() => world.now - 60 * MINUTE);
  network.state = 'up';
  assert(await world.pass(2 * MINUTE, () => relay.state.name === 'online'));
});

test('what is wrong from the start is said at once', async () => {
  const { page, relay } = setUp();
  // Errors of the page's own realm.
  const wrong = (/** @type {() => unknown} */ run) => assert.throws(run, { name: /^(TypeError|SyntaxError)$/ });
  wrong(() => page.client.connect('http://relay.test', /** @type {any} */ ({})));
  wrong(() => page.client.connect('http://', { session: 'a' }));
  wrong(() => page.client.connect('http://relay.test', { session: 'a', transports: [] }));
  wrong(() => page.client.connect('http://relay.test', { session: 'a', transports: /** @type {any} */ (['carrier pigeon']) }));
  wrong(() => relay.on(/** @type {any} */ ('mesage'), () => {}));
  await assert.rejects(relay.send('b', undefined), { name: 'SyntaxError' });
  await assert.rejects(relay.send('b', 1n), { name: 'TypeError' });
  const relative = page.client.connect('/relay/', { session: 'r' });
  assert.equal(relative.state.name, 'connecting');
});
