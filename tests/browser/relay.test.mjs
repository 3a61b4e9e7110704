// x0-style pages in two tabs of a real browser, on another origin than the relay: messages, wake-up, pace.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBrowser } from './lib/browser.mjs';
import { startRelay } from './lib/relay.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

const ACCEPTED = { messages: null, status: 'ok' };

/** A net-message as JSON text; `members` is JSON text, so that numbers keep the spelling that a test gives them. */
function netMessage(members) {
  return `{"msg-type":"net-message","method-id":"set-data","dst-object":"Text1","payload":{${members}}}`;
}

/** How `text` (an object) stands in an answer: byte for byte, with `session_src` as its last member. */
function delivered(text, from) {
  return `${text.slice(0, -1)},"session_src":${JSON.stringify(from)}}`;
}

async function sendOk(tab, destination, payload) {
  const { status, text, at } = await tab.send(destination, payload);
  assert.equal(status, 200);
  assert.deepEqual(JSON.parse(text), ACCEPTED);
  return at;
}

/** The texts stand in this order in what a tab was answered, and it was handed as many messages. */
function assertAnswered(tab, texts) {
  const all = tab.answers.map(({ text }) => text).join('\n');
  let from = 0;
  for (const text of texts) {
    const at = all.indexOf(text, from);
    assert.notEqual(at, -1, `not answered, or not in its place: ${text}\nanswers: ${all.slice(0, 2000)}`);
    from = at + text.length;
  }
  assert.equal(tab.messages.length, texts.length, 'no message twice, none besides');
}

test('messages both ways: in order, byte for byte', async (t) => {
  const { base: relay } = await startRelay(t);
  const context = await browser.context(t);
  // Both addresses that x0 pages poll: the one in its documentation and its default.
  const a = await browser.tab(context, { relay, session: 'tab-a' });
  const b = await browser.tab(context, { relay, session: 'tab-b', getPath: '/python/MsgHandler.py' });

  const payloads = (from) => [
    netMessage(`"from":"${from}","big":12345678901234567890,"huge":1e400,"exact":1.10,"exp":1E+2,"minus":-0`),
    netMessage(`"z":1,"a":2,"z":3,"nested":{ "deep" : [1, {"x":null}] }`),
    netMessage(`"escapes":"\\u00e4\\/\\u2028\\"\\\\\\ud83d\\ude00","raw":"ä€😀\u2028"`),
    ...Array.from({ length: 30 }, (_, n) => netMessage(`"from":"${from}","n":${n}`)),
  ];
  const exchange = async (tab, to, texts) => {
    for (const text of texts) await sendOk(tab, to, text);
  };
  await Promise.all([exchange(a, 'tab-b', payloads('a')), exchange(b, 'tab-a', payloads('b'))]);
  await a.until('everything has come to a', ({ messages }) => messages.length >= 33);
  await b.until('everything has come to b', ({ messages }) => messages.length >= 33);

  assertAnswered(a, payloads('b').map((text) => delivered(text, 'tab-b')));
  assertAnswered(b, payloads('a').map((text) => delivered(text, 'tab-a')));
  for (const tab of [a, b]) assert.equal(await tab.stopped(), false);
  t.diagnostic(`33 messages each way in ${a.polls.length} and ${b.polls.length} polls`);
});

test('the form button becomes a net-message', async (t) => {
  const { base: relay } = await startRelay(t);
  const context = await browser.context(t);
  const a = await browser.tab(context, { relay, session: 'tab-a' });
  const b = await browser.tab(context, { relay, session: 'tab-b' });

  const answer = await a.page.evaluate(() => window.client.submit('tab-b', { Text1: 'grüße', Amount: '12.50' }));
  assert.equal(answer.status, 200);
  assert.deepEqual(JSON.parse(answer.text), ACCEPTED);
  await b.until('the form has come', ({ messages }) => messages.length === 1);
  assert.deepEqual(b.messages[0].message, {
    'msg-type': 'net-message',
    'method-id': 'set-data',
    'dst-object': 'FormlistExchangeData',
    payload: { Text1: 'grüße', Amount: '12.50' },
    session_src: 'tab-a',
  });
});

test('a network event with a JSON object is delivered, one without is an error and queues nothing', async (t) => {
  const { base: relay } = await startRelay(t, '--error-hold', '100ms');
  const context = await browser.context(t);
  const a = await browser.tab(context, { relay, session: 'tab-a' });
  const b = await browser.tab(context, { relay, session: 'tab-b' });

  const fire = (payload) => a.page.evaluate((text) => window.client.fire('tab-b', text), payload);
  const refused = await fire('SYS__NET_EVENT-SwitchScreen');
  assert.equal(refused.status, 200);
  assert.equal(JSON.parse(refused.text).error, true);
  assert.equal(typeof JSON.parse(refused.text).exception_id, 'string');
  const accepted = await fire('{"txt-id":"a b+c","n":1}');
  assert.deepEqual(JSON.parse(accepted.text), ACCEPTED);
  await b.until('the event has come', ({ messages }) => messages.length > 0);
  assert.deepEqual(b.messages.map(({ message }) => message), [{ 'txt-id': 'a b+c', n: 1, session_src: 'tab-a' }]);
});

test('a waiting poll wakes at once', async (t) => {
  const { base: relay } = await startRelay(t);
  const context = await browser.context(t);
  const a = await browser.tab(context, { relay, session: 'tab-a' });
  const b = await browser.tab(context, { relay, session: 'tab-b' });

  const delays = [];
  for (let n = 0; n < 10; n += 1) {
    await b.parked();
    const sent = await sendOk(a, 'tab-b', `{"n":${n}}`);
    await b.until(`message ${n}`, ({ messages }) => messages.length === n + 1);
    delays.push(b.messages[n].at - sent);
  }
  delays.sort((x, y) => x - y);
  t.diagnostic(`from send() in one tab to the handler in the other, preflight included: ${shown(delays)}`);
  // A relay that looked once a second, as the original does, would need 500 ms on average.
  assert.ok(delays[5] < 100, `the median is ${delays[5]} ms`);
  assert.ok(delays[9] < 500, `the longest is ${delays[9]} ms`);
});

function shown(sorted) {
  const [min, median, max] = [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((ms) => ms.toFixed(1));
  return `min ${min} ms, median ${median} ms, max ${max} ms (${sorted.length} times)`;
}

test('a page without a session cannot loop hot: about one poll a second', async (t) => {
  const { base: relay } = await startRelay(t);
  const context = await browser.context(t);
  for (const [name, options] of Object.entries({ null: { session: null }, empty: { session: '' }, absent: {} })) {
    const tab = await browser.tab(context, { relay, ...options });
    await tab.until('five answers', ({ answers }) => answers.length === 5);
    const seconds = (tab.answers[4].at - tab.polls[0].at) / 1000;
    t.diagnostic(`session ${name}: 5 polls in ${seconds.toFixed(2)} s`);
    assert.ok(seconds > 4.5 && seconds < 7.5, `5 polls took ${seconds} s`);
    for (const { text } of tab.answers) assert.equal(JSON.parse(text).exception_id, 'InvalidSessionID');
    assert.equal(await tab.stopped(), false);
    await tab.page.close();
  }
});

test('an idle page polls once in the whole wait', async (t) => {
  const { base: relay } = await startRelay(t, '--wait', '2s');
  const tab = await browser.tab(await browser.context(t), { relay, session: 'tab-a' });
  await tab.until('three answers', ({ answers }) => answers.length === 3);
  const seconds = (tab.answers[2].at - tab.polls[0].at) / 1000;
  t.diagnostic(`3 empty polls of 2 s took ${seconds.toFixed(2)} s`);
  assert.ok(seconds > 5.9 && seconds < 8, `3 polls of 2 s took ${seconds} s`);
  for (const { text } of tab.answers) assert.deepEqual(JSON.parse(text), { messages: null });
});

test('two tabs with one session: nothing is lost, nothing doubled, and they do not chase each other', async (t) => {
  const { base: relay } = await startRelay(t, '--wait', '2s');
  const context = await browser.context(t);
  const twins = [
    await browser.tab(context, { relay, session: 'twin' }),
    await browser.tab(context, { relay, session: 'twin' }),
  ];
  for (const tab of twins) await tab.parked();

  // Idle: each poll is held for its whole wait, the displaced one too.
  const idle = await Promise.all(twins.map(async (tab) => {
    const [first, since] = [tab.answers.length, Date.now()];
    await tab.until('three answers', ({ answers }) => answers.length >= first + 3);
    return (Date.now() - since) / 1000;
  }));
  t.diagnostic(`idle: 3 polls each of 2 s in ${idle.map((s) => s.toFixed(2)).join(' and ')} s`);
  // The first of the three had begun before.
  for (const seconds of idle) assert.ok(seconds > 3.9, `3 polls took ${seconds} s`);

  const sender = await browser.tab(context, { relay, session: 'sender' });
  const polls = () => twins.map((tab) => tab.polls.length);
  const before = polls();
  const began = Date.now();
  for (let n = 0; n < 60; n += 1) await sendOk(sender, 'twin', `{"n":${n}}`);
  const numbers = () => twins.map((tab) => tab.messages.map(({ message }) => message.n));
  const both = () => numbers().flat().length >= 60;
  await Promise.race(twins.map((tab) => tab.until('60 messages in both', both)));
  for (const tab of twins) await tab.parked();

  const seconds = (Date.now() - began) / 1000;
  const spent = polls().map((count, i) => count - before[i]);
  const got = numbers();
  t.diagnostic(`60 messages: ${got.map((list) => list.length).join(' and ')}, in ${spent.join(' and ')} polls, ${seconds.toFixed(2)} s`);
  assert.deepEqual(got.flat().sort((x, y) => x - y), Array.from({ length: 60 }, (_, n) => n));
  for (const list of got) assert.deepEqual(list, list.toSorted((x, y) => x - y), 'each tab has its share in order');
  // Only a message or the end of the wait answers a poll.
  const most = 60 + 2 * Math.ceil(seconds / 2 + 1);
  assert.ok(spent[0] + spent[1] <= most, `${spent} polls for 60 messages`);
  for (const tab of twins) assert.equal(await tab.stopped(), false);
});
