// HTTPS in a real browser: HTTP/2 for everything that waits, so that no tab waits for another; WebSockets beside it; and
// pages of origins that may not.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBrowser } from './lib/browser.mjs';
import { makeCertificate } from './lib/certificate.mjs';
import { startRelay } from './lib/relay.mjs';

/** More than the six connections that a browser has to one HTTP/1.1 server. */
const TABS = 9;

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

const unvouched = { ignoreHTTPSErrors: true };

/** A gauge of the relay's. */
async function gauge(relay, name) {
  const text = await (await fetch(`${relay.base}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)[1]);
}

test('the ninth tab waits for nobody', async (t) => {
  const relay = await startRelay(t, '--wait', '60s', ...makeCertificate(t));
  const context = await browser.context(t, unvouched);
  const tabs = [];
  for (let n = 0; n < TABS; n += 1) tabs.push(await browser.tab(context, { relay: relay.secure, session: `tab-${n}` }));
  for (const tab of tabs) await tab.parked();
  assert.equal(await gauge(relay, 'x0_relay_receivers_waiting'), TABS, 'all of them wait at the relay at once');
  for (let n = 0; n < TABS; n += 1) {
    const { status } = await tabs[n].send(`tab-${(n + 1) % TABS}`, `{"n":${n}}`);
    assert.equal(status, 200);
  }
  for (let n = 0; n < TABS; n += 1) {
    const from = (n + TABS - 1) % TABS;
    await tabs[n].until('its message', ({ messages }) => messages.some(({ message }) => message.n === from));
    await tabs[n].parked();
    assert.equal(tabs[n].messages.length, 1, 'once');
    assert.deepEqual(tabs[n].stops, []);
  }
  const connections = await gauge(relay, 'x0_relay_http_connections');
  assert.ok(connections <= 4, `${connections} connections for ${TABS} tabs: this is not HTTP/2`);
  t.diagnostic(`${TABS} tabs over ${connections} connections, that of this figure among them`);
});

test('over HTTP/1.1 it is otherwise, so the test above means something', async (t) => {
  const relay = await startRelay(t, '--wait', '60s');
  const context = await browser.context(t);
  const tabs = [];
  for (let n = 0; n < TABS; n += 1) tabs.push(await browser.tab(context, { relay: relay.base, session: `tab-${n}` }));
  for (const tab of tabs) await tab.until('it has asked', ({ polls }) => polls.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.ok((await gauge(relay, 'x0_relay_receivers_waiting')) <= 6);
});

test('WebSockets, event streams and polls of protocol v1 over HTTPS', async (t) => {
  const relay = await startRelay(t, ...makeCertificate(t));
  const page = await (await browser.context(t, unvouched)).newPage();
  await page.goto(`${browser.origin}/page/`);
  const heard = await page.evaluate(async (base) => {
    const send = (to, n) => fetch(`${base}/v1/messages`, { method: 'POST', body: JSON.stringify({ to: `session:${to}`, from: 'page', payload: { n } }) });
    const socket = new WebSocket(`${base.replace('https', 'wss')}/v1/ws?session=ws`, 'x0-relay.v1');
    const overSocket = new Promise((resolve, reject) => {
      socket.onerror = () => reject(new Error('no WebSocket'));
      socket.onmessage = ({ data }) => data.includes('"n":1') && resolve('ws');
    });
    await new Promise((resolve) => { socket.onopen = resolve; });
    const events = new EventSource(`${base}/v1/events?session=es`);
    const overEvents = new Promise((resolve) => { events.addEventListener('message', ({ data }) => data.includes('"n":2') && resolve('es')); });
    const overPoll = fetch(`${base}/v1/messages?session=poll`).then((answer) => answer.text()).then((text) => (text.includes('"n":3') ? 'poll' : text));
    const statuses = [];
    for (const [to, n] of [['ws', 1], ['es', 2], ['poll', 3]]) statuses.push((await send(to, n)).status);
    const all = await Promise.all([overSocket, overEvents, overPoll]);
    socket.close();
    events.close();
    return [...statuses, ...all];
  }, relay.secure);
  assert.deepEqual(heard, [201, 201, 201, 'ws', 'es', 'poll']);
});

for (const [listed, may] of [[true, true], [false, false]]) {
  test(`a page whose origin is ${listed ? '' : 'not '}listed ${may ? 'may' : 'may not'}: fetch and WebSocket`, async (t) => {
    const origins = listed ? browser.origin : 'https://app.example';
    const relay = await startRelay(t, '--origins', origins);
    const page = await (await browser.context(t)).newPage();
    await page.goto(`${browser.origin}/page/`);
    const result = await page.evaluate(async (base) => {
      const attempt = (promise) => promise.then(() => true, () => false);
      const fetched = await attempt(fetch(`${base}/v1/sessions/b`));
      const preflighted = await attempt(fetch(`${base}/get?a__=1`, { method: 'POST', body: '{"session_src":"b","type":"GET"}', headers: { 'Content-Type': 'application/json; charset=UTF-8', 'Cache-Control': 'max-age=0' } }));
      const socket = new WebSocket(`${base.replace('http', 'ws')}/v1/ws?session=b`);
      const opened = await new Promise((resolve) => {
        socket.onopen = () => resolve(true);
        socket.onerror = () => resolve(false);
      });
      return [fetched, preflighted, opened];
    }, relay.base);
    assert.deepEqual(result, [may, may, may]);
  });
}
