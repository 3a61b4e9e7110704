// client-js in real Chromium, on another origin than the relay: connections cut, WebSockets blocked, streams held back, the
// relay restarted, the page reloaded, frozen and off the network, two tabs with one session. No message is lost, none is
// shown twice in one page, none is sent twice.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBetween } from './lib/between.mjs';
import { startBrowser } from './lib/browser.mjs';
import { collect, openClient } from './lib/client-tab.mjs';
import { holdSocket, startRelay } from './lib/relay.mjs';
import { sendNumbers, upTo } from './lib/x0-tab.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

const TRANSPORTS = ['websocket', 'sse', 'poll'];
const publish = (base, session, first, last) => sendNumbers(base, session, first, last, (n) => n);

/** A relay, a proxy before it, and a tab whose client is for session `a`. */
async function oneTab(t, { prepare = () => {}, state = 'websocket', ...options } = {}) {
  const relay = await startRelay(t);
  const between = await startBetween(t, relay.base);
  prepare(between);
  const context = await browser.context(t);
  const tab = await openClient(browser, context, between.base, { session: 'a', ...options });
  await tab.is(state);
  return { relay, between, context, tab };
}

for (const transport of TRANSPORTS) {
  test(`connections cut again and again, over ${transport}: nothing lost, nothing twice, either way`, async (t) => {
    const { relay, between, tab } = await oneTab(t, { transports: [transport], state: transport });
    const [rounds, each] = [4, 12];
    for (let round = 0; round < rounds; round += 1) {
      const done = round * each;
      const sending = Promise.all([publish(relay.base, 'a', done + 1, done + each), tab.send('sink', done + 1, done + each)]);
      // In the midst of it.
      await tab.has(done + 1 + Math.floor(Math.random() * (each - 1)));
      between.cut();
      await sending;
      await tab.has(done + each);
    }
    assert.deepEqual(tab.numbers, upTo(rounds * each));
    assert.deepEqual(await collect(relay.base, 'sink', rounds * each), upTo(rounds * each));
    assert.deepEqual(tab.gaps, []);
    tab.assertClean();
  });
}

test('WebSockets refused, then swallowed, then let through: events meanwhile, and back', async (t) => {
  const { relay, between, tab } = await oneTab(t);
  let sent = 0;
  const more = async () => {
    const first = sent + 1;
    sent += 10;
    await Promise.all([publish(relay.base, 'a', first, sent), tab.send('sink', first, sent)]);
    await tab.has(sent);
  };
  await more();
  for (const how of ['refuse', 'swallow']) {
    between.sockets = how;
    between.cut();
    await more();
    await tab.is('sse');
    between.sockets = 'pass';
    await tab.is('websocket', 60_000);
    await more();
  }
  assert.deepEqual(tab.numbers, upTo(sent));
  assert.deepEqual(await collect(relay.base, 'sink', sent), upTo(sent));
  tab.assertClean();
});

test('WebSockets refused and streams held back by a proxy: polls, and back when it lets go', async (t) => {
  const prepare = (between) => Object.assign(between, { sockets: 'refuse', answers: 'buffer' });
  const { relay, between, tab } = await oneTab(t, { prepare, state: 'poll' });
  await Promise.all([publish(relay.base, 'a', 1, 20), tab.send('sink', 1, 20)]);
  await tab.has(20);
  Object.assign(between, { sockets: 'pass', answers: 'pass' });
  await tab.is('websocket', 60_000);
  await Promise.all([publish(relay.base, 'a', 21, 40), tab.send('sink', 21, 40)]);
  await tab.has(40);
  assert.deepEqual(tab.numbers, upTo(40));
  assert.deepEqual(await collect(relay.base, 'sink', 40), upTo(40));
  assert.ok(!tab.states.some(({ name }) => name === 'superseded'), 'its own probes are no other tab');
  tab.assertClean();
});

for (const durable of [true, false]) {
  test(`the relay restarted ${durable ? 'with' : 'without'} a data directory: killed and drained, over every transport`, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'x0-relay-'));
    t.after(() => rm(directory, { recursive: true, force: true }));
    const relay = await holdSocket(t, ...(durable ? ['--data-dir', directory] : []));
    await relay.start();
    const context = await browser.context(t);
    const tabs = [];
    for (const transport of TRANSPORTS) {
      tabs.push([transport, await openClient(browser, context, relay.base, { session: transport, transports: [transport] })]);
    }
    const each = (act) => Promise.all(tabs.map(([transport, tab]) => act(tab, transport)));
    await each((tab, transport) => tab.is(transport));
    let sent = 0;
    for (const signal of ['SIGKILL', 'SIGTERM']) {
      // What is in memory alone ends with the process: so without a data directory nothing is on its way then.
      const first = sent + 1;
      sent += 30;
      const sending = each((tab, transport) => publish(relay.base, transport, first, sent));
      if (durable) await each((tab) => tab.has(sent - 20));
      else {
        await sending;
        await each((tab) => tab.has(sent));
      }
      await relay.stop(signal);
      await relay.start();
      await sending;
      sent += 1;
      await each((tab, transport) => tab.send(transport, sent, sent));
      await each((tab) => tab.has(sent));
    }
    await each((tab, transport) => {
      assert.deepEqual(tab.numbers, upTo(sent), transport);
      const reasons = tab.gaps.map(({ reason }) => reason);
      assert.deepEqual(reasons, durable ? [] : ['epoch', 'epoch'], transport);
      tab.assertClean();
    });
  });
}

/** Which of two tabs with one session has it, and which one rests. */
async function settled(both) {
  for (;;) {
    const [holder, resting] = ['online', 'superseded'].map((name) => both.find(({ states }) => states.at(-1)?.name === name));
    if (holder && resting) return [holder, resting];
    await Promise.race(both.map((tab) => tab.changed()));
  }
}

test('two tabs with one session: one has it, the other rests until it is asked; nothing lost, nothing twice', async (t) => {
  const relay = await startRelay(t);
  const context = await browser.context(t);
  const open = () => openClient(browser, context, relay.base, { session: 'twin' });
  const one = await open();
  await one.is('websocket');
  const [holder, resting] = await settled([one, await open()]);
  await publish(relay.base, 'twin', 1, 20);
  await holder.has(20);
  // The one that rests can send.
  await resting.send('twin', 21, 25);
  await holder.has(25);
  const sending = publish(relay.base, 'twin', 26, 60);
  await holder.has(30);
  await resting.page.evaluate(() => window.client.resume());
  await settled([holder, resting]);
  await sending;
  while (![holder, resting].some(({ numbers }) => numbers.at(-1) === 60)) await Promise.race([holder.changed(), resting.changed()]);
  assert.deepEqual([...new Set([...holder.numbers, ...resting.numbers])].sort((x, y) => x - y), upTo(60));
  for (const tab of [holder, resting]) {
    // They do not chase each other.
    assert.ok(tab.states.length < 12, `${tab}`);
    tab.assertClean();
  }
});

test('a page reloaded again and again, with a storage: nothing lost, nothing twice, over all its pages', async (t) => {
  const { relay, between, tab } = await oneTab(t, { kept: true });
  const [rounds, each] = [3, 20];
  for (let round = 0; round < rounds; round += 1) {
    const done = round * each;
    const sending = publish(relay.base, 'a', done + 1, done + each);
    await tab.has(done + 5);
    // What it sends without a network is sent by the page after it.
    await between.down();
    await tab.until('it is away', ({ state }) => ['connecting', 'offline'].includes(state));
    await tab.page.evaluate(([first, last]) => void window.sendNumbers('sink', first, last), [done + 1, done + 3]);
    await tab.reload();
    await between.up();
    await sending;
    await tab.has(done + each);
  }
  assert.deepEqual(await tab.page.evaluate(() => window.shown()), upTo(rounds * each));
  const expected = upTo(rounds * each).filter((n) => (n - 1) % each < 3);
  assert.deepEqual(await collect(relay.base, 'sink', expected.length), expected);
  tab.assertClean();
});

test('a page that is frozen, and one that is left and come back to, get what came meanwhile', async (t) => {
  const { relay, context, tab } = await oneTab(t, { kept: true });
  const developer = await context.newCDPSession(tab.page);
  await developer.send('Page.setWebLifecycleState', { state: 'frozen' });
  await publish(relay.base, 'a', 1, 10);
  await developer.send('Page.setWebLifecycleState', { state: 'active' });
  await tab.has(10);
  await tab.page.goto('about:blank');
  await publish(relay.base, 'a', 11, 20);
  await tab.page.goBack();
  // Out of the browser's cache of pages it goes on by itself; a page that is made anew has to be started.
  if (!(await tab.page.evaluate(() => 'client' in window))) await tab.reload();
  await tab.has(20);
  assert.deepEqual(tab.numbers, upTo(20));
  tab.assertClean();
});

test('off the network and on again, while messages go both ways', async (t) => {
  const { relay, context, tab } = await oneTab(t);
  for (const round of [0, 1, 2]) {
    const done = round * 20;
    await context.setOffline(true);
    const sending = Promise.all([publish(relay.base, 'a', done + 1, done + 20), tab.send('sink', done + 1, done + 20)]);
    if (round > 0) await tab.until('it knows', ({ state }) => state !== 'websocket', 60_000);
    await context.setOffline(false);
    await sending;
    await tab.has(done + 20);
  }
  assert.deepEqual(tab.numbers, upTo(60));
  assert.deepEqual(await collect(relay.base, 'sink', 60), upTo(60));
  tab.assertClean();
});
