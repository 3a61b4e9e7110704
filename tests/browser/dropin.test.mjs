// The x0 drop-in (client-js/x0) in a real browser, on x0-style pages: every kind of message over WebSocket and over polling,
// with the file exchanged and with it added; sockets blocked, connections cut, the relay away and restarted, two tabs with
// one session. No message is lost, none is shown twice.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBetween } from './lib/between.mjs';
import { startBrowser } from './lib/browser.mjs';
import { holdSocket, settled, startRelay } from './lib/relay.mjs';
import { openX0, sendNumbers, upTo } from './lib/x0-tab.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

const ACCEPTED = { messages: null, status: 'ok' };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A relay with a proxy before it, and one tab, session tab-b, that has come so far as to be in `state`. */
async function oneTab(t, state, { prepare = () => {}, file } = {}) {
  const relay = await startRelay(t);
  const between = await startBetween(t, relay.base);
  prepare(between);
  const tab = await openX0(browser, await browser.context(t), { relay: between.base, session: 'tab-b', file });
  await tab.is(state);
  return { relay, between, tab };
}

const netMessage = (payload, object = 'Text1') => ({ 'msg-type': 'net-message', 'method-id': 'set-data', 'dst-object': object, payload });

/** What one page sends to another, and what that does there. */
const KINDS = [
  ['exchange', { Text1: 'grüße', Amount: '12.50' }, { did: 'set-data', object: 'FormlistExchangeData', payload: { Text1: 'grüße', Amount: '12.50' } }],
  ['send', netMessage({ a: [1, null] }), { did: 'set-data', object: 'Text1', payload: { a: [1, null] } }],
  ['send', netMessage({ n: 1 }, 'Nowhere'), null],
  ['send', netMessage({ fail: true }), null],
  ['send', { 'msg-type': 'net-phone', 'phonenr-src': '+49 30 1', 'txt-id': 'TXT.CALL' }, { did: 'phone', number: '+49 30 1', text: 'TXT.CALL' }],
  ['send', { 'msg-type': 'sys-indicator', 'notify-id': 'Mail', 'notify-status': true }, { did: 'indicator', id: 'Mail', status: true }],
  [
    'send',
    { ...netMessage('last'), 'fire-events': ['A', 'B'], 'switch-screen-id': 'Second' },
    { did: 'set-data', object: 'Text1', payload: 'last' },
    { did: 'events', events: ['A', 'B'] },
    { did: 'screen', id: 'Second' },
  ],
];

const WAYS = {
  WebSocket: { state: 'websocket', prepare() {}, polls: [] },
  "polls of protocol v1, a proxy refusing WebSockets": { state: 'polling', prepare: (between) => (between.sockets = 'refuse'), polls: ['/v1/messages'] },
  "x0's polls, the server having nothing else": { state: 'polling', prepare: (between) => (between.v1 = false), polls: ['/v1/messages', '/get'] },
};

for (const [name, { state, prepare, polls }] of Object.entries(WAYS)) {
  test(`every kind of message from page to page and back, over ${name}`, async (t) => {
    const relay = await startRelay(t);
    const between = await startBetween(t, relay.base);
    prepare(between);
    const context = await browser.context(t);
    const tabs = { 'tab-a': null, 'tab-b': null };
    for (const session of Object.keys(tabs)) tabs[session] = await openX0(browser, context, { relay: between.base, session });
    for (const tab of Object.values(tabs)) await tab.is(state);
    for (const [from, to] of [['tab-a', 'tab-b'], ['tab-b', 'tab-a']]) {
      for (const [how, payload] of KINDS) assert.deepEqual(await tabs[from].say(how, to, payload), { status: 200, answer: ACCEPTED });
      const expected = KINDS.flatMap(([, , ...shown]) => shown).filter((shown) => shown !== null);
      await tabs[to].has(expected.length);
      const senderless = ['events', 'screen'];
      assert.deepEqual(tabs[to].shown, expected.map((shown) => (senderless.includes(shown.did) ? shown : { ...shown, from })));
      const complaints = tabs[to].complaints.filter((text) => text.startsWith('x0-relay:'));
      assert.equal(complaints.length, 2, `${complaints}`);
      assert.match(complaints[0], /no object "Nowhere"/);
      assert.match(complaints[1], /asked to fail/);
    }
    for (const tab of Object.values(tabs)) {
      assert.equal(tab.state, state);
      const asked = new Set(tab.requests.filter((path) => path === '/get' || path.startsWith('/v1/')));
      assert.deepEqual([...asked].filter((path) => path !== '/v1/ws'), polls);
    }
  });
}

test('examples/x0-example-10/dropin.html: a form goes from page to page and back', async (t) => {
  const { base } = await startRelay(t);
  const context = await browser.context(t);
  const open = async (session) => {
    const page = await context.newPage();
    await page.goto(`${browser.origin}/example/dropin.html?session=${session}&relay=${base}`);
    await page.getByText('Receiving: websocket').waitFor({ timeout: 30_000 });
    return page;
  };
  const [a, b] = [await open('tab-a'), await open('tab-b')];
  for (const [from, to, line] of [[a, b, 'tab-a: hello, b'], [b, a, 'tab-b: hello, a'], [a, b, 'tab-a: <b>näxt</b>']]) {
    await from.getByLabel('Text').fill(line.slice(7));
    await from.getByRole('button', { name: 'Send' }).click();
    await to.getByRole('listitem').filter({ hasText: line }).waitFor({ timeout: 5000 });
  }
  assert.deepEqual(await b.getByRole('listitem').allTextContents(), ['tab-a: hello, b', 'tab-a: <b>näxt</b>']);
  assert.equal(await a.getByRole('status').textContent(), 'Sent to tab-b.');
});

test("the file added to x0's own: x0's handling, our way of receiving, and no poll of x0's", async (t) => {
  const { relay, between, tab } = await oneTab(t, 'websocket', { file: 'beside.html' });
  await sendNumbers(relay.base, 'tab-b', 1, 3);
  await tab.has(3);
  await between.down();
  await tab.until('it polls', ({ requests }) => requests.includes('/v1/messages'));
  await between.up();
  await sendNumbers(relay.base, 'tab-b', 4, 6);
  await tab.has(6);
  assert.deepEqual(tab.shown, upTo(6).map((n) => ({ did: "x0's own", payload: { n }, from: 'sender' })));
  assert.ok(!tab.requests.includes('/get'), 'x0 itself has not polled');
});

for (const [name, prepare] of [['WebSocket', () => {}], ['polling', (between) => (between.sockets = 'refuse')]]) {
  test(`connections cut again and again, over ${name}: nothing lost, nothing twice`, async (t) => {
    const { relay, between, tab } = await oneTab(t, name === 'polling' ? 'polling' : 'websocket', { prepare });
    const [rounds, each] = [25, 12];
    for (let round = 0; round < rounds; round += 1) {
      const before = round * each;
      const sending = sendNumbers(relay.base, 'tab-b', before + 1, before + each);
      // In the midst of it, and at any moment of an answer.
      await tab.has(before + 1 + Math.floor(Math.random() * (each - 1)));
      await pause(Math.random() * 20);
      between.cut();
      await sending;
      await tab.has(before + each);
    }
    assert.deepEqual(tab.numbers, upTo(rounds * each));
    t.diagnostic(`${rounds} cuts, ${tab.states.filter((state) => state === 'offline').length} times offline`);
  });
}

test('WebSockets blocked while one is open: polling goes on; allowed again: back to one', async (t) => {
  const { relay, between, tab } = await oneTab(t, 'websocket');
  await sendNumbers(relay.base, 'tab-b', 1, 3);
  await tab.has(3);
  for (const [round, how] of ['refuse', 'swallow'].entries()) {
    const from = 3 + round * 60;
    between.sockets = how;
    between.cut();
    await sendNumbers(relay.base, 'tab-b', from + 1, from + 20);
    await tab.is('polling');
    await tab.has(from + 20);
    between.sockets = 'pass';
    const flow = (async () => {
      for (let n = from + 21; n <= from + 60; n += 1) {
        await sendNumbers(relay.base, 'tab-b', n, n);
        if (tab.state !== 'websocket') await pause(250);
      }
    })();
    await tab.is('websocket');
    await flow;
    await tab.has(from + 60);
  }
  assert.deepEqual(tab.numbers, upTo(123));
});

test('the relay refused for seconds: the page goes on by itself', async (t) => {
  for (const sockets of ['pass', 'refuse']) {
    const { relay, between, tab } = await oneTab(t, sockets === 'pass' ? 'websocket' : 'polling', { prepare: (it) => (it.sockets = sockets) });
    for (let round = 0; round < 3; round += 1) {
      await between.down();
      await tab.is('offline');
      await sendNumbers(relay.base, 'tab-b', round * 5 + 1, round * 5 + 5);
      await pause(round * 1500);
      await between.up();
      await tab.has(round * 5 + 5);
    }
    assert.deepEqual(tab.numbers, upTo(15));
  }
});

for (const durable of [true, false]) {
  test(`the relay restarted ${durable ? 'with' : 'without'} a data directory: killed and drained, over WebSocket and polling`, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'x0-relay-'));
    t.after(() => rm(directory, { recursive: true, force: true }));
    const relay = await holdSocket(t, ...(durable ? ['--data-dir', directory] : []));
    await relay.start();
    const between = await startBetween(t, relay.base);
    between.sockets = 'refuse';
    const context = await browser.context(t);
    const tabs = {
      'tab-s': await openX0(browser, context, { relay: relay.base, session: 'tab-s' }),
      'tab-p': await openX0(browser, context, { relay: between.base, session: 'tab-p' }),
    };
    await tabs['tab-s'].is('websocket');
    await tabs['tab-p'].is('polling');
    const each = (act) => Promise.all(Object.entries(tabs).map(([session, tab]) => act(session, tab)));

    let sent = 0;
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL', 'SIGTERM']) {
      // What is in memory alone ends with the process: so without a data directory, nothing is on its way at the end.
      const first = sent + 1;
      sent += 30;
      const sending = each((session) => sendNumbers(relay.base, session, first, sent));
      if (durable) await tabs['tab-s'].has(sent - 20);
      else {
        await sending;
        await each((_, tab) => tab.has(sent));
      }
      assert.equal(await relay.stop(signal), signal === 'SIGKILL' ? 137 : 0);
      await relay.start();
      await sending;
      await sendNumbers(relay.base, 'tab-s', sent + 1, sent + 1);
      await sendNumbers(relay.base, 'tab-p', sent + 1, sent + 1);
      sent += 1;
      await each((_, tab) => tab.has(sent));
    }
    await each((session, tab) => {
      assert.deepEqual(tab.numbers, upTo(sent), session);
      const lost = tab.complaints.filter((text) => text.includes('messages are lost'));
      assert.deepEqual(lost.filter((text) => !text.includes('(epoch)')), [], session);
      if (durable) assert.deepEqual(lost, [], session);
    });
    await tabs['tab-s'].is('websocket');
  });
}

test('two tabs with one session: the newest has it, no fight, and the other one gets it back by being used', async (t) => {
  const relay = await startRelay(t);
  const context = await browser.context(t);
  const first = await openX0(browser, context, { relay: relay.base, session: 'twin' });
  await first.is('websocket');
  const second = await openX0(browser, context, { relay: relay.base, session: 'twin' });
  await second.is('websocket');
  await first.is('superseded');
  await sendNumbers(relay.base, 'twin', 1, 20);
  await second.has(20);
  // What it has not said that it has when it is sent away goes to the next as well.
  await settled(relay.base, 'twin');
  await first.page.mouse.click(5, 5);
  await first.is('websocket');
  await second.is('superseded');
  await sendNumbers(relay.base, 'twin', 21, 40);
  await first.has(20);
  assert.deepEqual(second.numbers, upTo(20));
  assert.deepEqual(first.numbers, upTo(40).slice(20));
  assert.deepEqual(second.states, ['connecting', 'websocket', 'superseded']);
  assert.deepEqual(first.states, ['connecting', 'websocket', 'superseded', 'connecting', 'websocket']);
});
