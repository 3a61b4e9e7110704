// x0's page as it is, where the relay takes signed sessions and lists the pages that may use it: a page of a listed origin
// sends and polls with the session that its back end signed, one of another origin gets and sends nothing.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SECRET, signedSession } from '../../client-js/test/support/tokens.js';
import { startBrowser } from './lib/browser.mjs';
import { startRelay } from './lib/relay.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

async function signedRelay(t, origins) {
  const directory = await mkdtemp(join(tmpdir(), 'x0-relay-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const keys = join(directory, 'keys');
  await writeFile(keys, SECRET, { mode: 0o600 });
  return startRelay(t, '--wait', '2s', '--auth', 'signed', '--signed-keys', keys, '--origins', origins);
}

const message = (n) => `{"msg-type":"net-message","method-id":"set-data","dst-object":"Text1","payload":{"n":${n}}}`;

test('a page of a listed origin sends and polls with its signed session, and nobody else does for it', async (t) => {
  const { base: relay } = await signedRelay(t, browser.origin);
  const context = await browser.context(t);
  const a = await browser.tab(context, { relay, session: signedSession('tab-a', 600) });
  const b = await browser.tab(context, { relay, session: signedSession('tab-b', 600) });
  assert.equal(JSON.parse((await a.send('tab-b', message(1))).text).status, 'ok');
  await b.until('the message has come', ({ messages }) => messages.length === 1);
  assert.equal(b.messages[0].message.session_src, 'tab-a', 'the bare name');

  // Who knows the name alone, or signs with another key, is told that this is no session.
  const forged = `${signedSession('tab-b', 600).slice(0, -1)}${signedSession('tab-b', 600).endsWith('A') ? 'E' : 'A'}`;
  for (const session of ['tab-b', forged]) {
    const thief = await browser.tab(context, { relay, session });
    await thief.until('it is refused', ({ answers }) => answers.length > 0);
    assert.match(thief.answers[0].text, /InvalidSessionID/);
    assert.match((await thief.send('tab-a', message(2))).text, /InvalidSessionID/);
    await thief.page.close();
  }
  assert.equal(JSON.parse((await a.send('tab-b', message(3))).text).status, 'ok');
  await b.until('the next has come', ({ messages }) => messages.length === 2);
  assert.equal(a.messages.length, 0);
});

test('a page of another origin gets nothing, not even with a session that is signed', async (t) => {
  const { base: relay } = await signedRelay(t, 'https://x0-app.example');
  const context = await browser.context(t);
  const refused = [];
  context.on('requestfailed', (request) => refused.push(request.failure().errorText));
  const tab = await browser.tab(context, { relay, session: signedSession('tab-a', 600) });
  const { status } = await tab.send('tab-a', message(1));
  assert.equal(status, 0, 'the page cannot read the answer');
  const answer = await fetch(`${relay}/get`, {
    method: 'POST',
    headers: { Origin: 'https://x0-app.example' },
    body: JSON.stringify({ session_src: signedSession('tab-a', 600), type: 'GET' }),
  });
  assert.deepEqual(await answer.json(), { messages: null }, 'and what it sent was not taken');
  assert.deepEqual(tab.messages, []);
  assert.ok(refused.length > 0, 'the browser says so');
});
