// A relay that asks who somebody is, in real Chromium, on another origin: client-js with tokens that expire, and the x0
// drop-in with a signed session, over WebSocket and by polling where that is blocked. No credential stands in an address.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SECRET, signedSession, token } from '../../client-js/test/support/tokens.js';
import { startBetween } from './lib/between.mjs';
import { startBrowser } from './lib/browser.mjs';
import { openClient } from './lib/client-tab.mjs';
import { startRelay } from './lib/relay.mjs';
import { openX0, sendNumbers, upTo } from './lib/x0-tab.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

/** A relay that takes tokens and signed sessions, a proxy before it, and the addresses that pages ask for. */
async function askingRelay(t) {
  const directory = await mkdtemp(join(tmpdir(), 'x0-relay-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const keys = join(directory, 'keys');
  await writeFile(keys, SECRET, { mode: 0o600 });
  const relay = await startRelay(t, '--auth', 'jwt,signed', '--jwt-keys', keys, '--signed-keys', keys, '--origins', browser.origin);
  const between = await startBetween(t, relay.base);
  const context = await browser.context(t);
  const addresses = [];
  context.on('request', (request) => addresses.push(request.url()));
  context.on('page', (page) => page.on('websocket', (socket) => addresses.push(socket.url())));
  return { relay, between, context, addresses };
}

const backEnd = () => ({ Authorization: `Bearer ${token(600, { sub: 'back-end', from: ['*'] })}` });

for (const transport of ['websocket', 'sse', 'poll']) {
  test(`client-js with tokens, the first about to expire, over ${transport}`, async (t) => {
    const { between, context, addresses } = await askingRelay(t);
    const tokens = [];
    let tab;
    const nextToken = () => {
      tokens.push(token(tokens.length ? 600 : -5));
      tab?.look();
      return tokens.at(-1);
    };
    tab = await openClient(browser, context, between.base, { session: 'ann-1', transports: [transport], asks: true }, nextToken);
    await tab.is(transport);
    await sendNumbers(between.base, 'ann-1', 1, 10, (n) => n, backEnd());
    await tab.has(10);
    await tab.until('it has another token', () => tokens.length > 1);
    between.cut();
    await tab.send('ann-1', 11, 20);
    await tab.has(20);
    assert.deepEqual(tab.numbers, upTo(20));
    assert.deepEqual(tab.gaps, []);
    assert.ok(tokens.length < 6, `${tokens.length} tokens`);
    assert.ok(addresses.length > 1 && !addresses.some((address) => tokens.some((shown) => address.includes(shown))));
    tab.assertClean();
  });
}

test('the drop-in with a signed session: over WebSocket, by polling where that is blocked, and signed anew', async (t) => {
  const { relay, between, context, addresses } = await askingRelay(t);
  const session = signedSession('tab-b', 600);
  const tab = await openX0(browser, context, { relay: between.base, session });
  await tab.is('websocket');
  const publish = (first, last) => sendNumbers(relay.base, 'tab-b', first, last, undefined, backEnd());
  await publish(1, 10);
  await tab.has(10);

  between.sockets = 'refuse';
  between.cut();
  await publish(11, 20);
  await tab.is('polling');
  await tab.has(20);
  assert.ok(!tab.requests.includes('/get'), 'with a cursor, not as x0 polls');

  // The page sends as x0 does, and who receives it sees the bare name.
  assert.equal((await tab.say('send', 'tab-b', { 'msg-type': 'net-message', 'method-id': 'set-data', 'dst-object': 'Text1', payload: { n: 21 } })).answer.status, 'ok');
  await tab.has(21);
  assert.equal(tab.shown.at(-1).from, 'tab-b');

  const newer = signedSession('tab-b', 1200);
  await tab.page.evaluate((value) => (sysFactory.Session.Value = value), newer);
  between.sockets = 'pass';
  between.cut();
  await publish(22, 30);
  await tab.has(30);
  await tab.is('websocket', 90_000);
  assert.deepEqual(tab.numbers, upTo(30));
  assert.deepEqual(tab.complaints.filter((text) => text.startsWith('x0-relay:')), []);
  const sockets = addresses.filter((address) => address.startsWith('ws'));
  assert.ok(sockets.length > 1 && sockets.every((address) => /session=tab-b&.*ticket=[\w-]{43}$/.test(address)), `${sockets}`);
  for (const shown of [session, newer]) assert.ok(!addresses.some((address) => address.includes(shown)));
});

test('the drop-in with a signed session that has expired says so, and goes on when the page has another', async (t) => {
  const { relay, between, context } = await askingRelay(t);
  const tab = await openX0(browser, context, { relay: between.base, session: signedSession('tab-b', -60) });
  await tab.is('offline');
  await tab.until('it complains', ({ complaints }) => complaints.some((text) => text.includes('the server refuses the poll')));
  await sendNumbers(relay.base, 'tab-b', 1, 3, undefined, backEnd());
  await tab.page.evaluate((value) => (sysFactory.Session.Value = value), signedSession('tab-b', 600));
  await tab.page.evaluate(() => window.dispatchEvent(new Event('focus')));
  await tab.is('websocket', 90_000);
  await tab.has(3);
  assert.deepEqual(tab.numbers, [1, 2, 3]);
});
