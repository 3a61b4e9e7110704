// The relay's pages where the relay asks who somebody is: a token or a signed session under Access, which stays in the page.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startBrowser } from './lib/browser.mjs';
import { arrived, choose, connected, counts, says, send, session, Tabs } from './lib/pages.mjs';
import { BINARY, startRelay } from './lib/relay.mjs';

const run = promisify(execFile);

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

/** A relay that takes tokens and signed sessions; `token` and `signed` make them. */
async function start(t) {
  const dir = await mkdtemp(join(tmpdir(), 'x0-relay-access-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = (name) => join(dir, name);
  const relay = async (...args) => (await run(BINARY, args)).stdout;
  for (const name of ['key', 'secret']) await writeFile(file(name), await relay('token', 'key'), { mode: 0o600 });
  const { base } = await startRelay(t, '--wait', '1s', '--auth', 'jwt,signed', '--jwt-keys', file('key'), '--signed-keys', file('secret'));
  const secret = (await readFile(file('secret'), 'utf8')).trim();
  return {
    base,
    tabs: new Tabs(await browser.context(t), base),
    token: async (...grants) => (await relay('token', 'make', '--key', file('key'), '--sub', 'ann', '--for', '1h', ...grants)).trim(),
    signed(id) {
      const expiry = Math.floor(Date.now() / 1000) + 3600;
      const mac = createHmac('sha256', secret).update(`x0-relay signed session 1\n${expiry}\n${id}`).digest('base64url');
      return `${id}.${expiry}.${mac}`;
    },
  };
}

async function enter(page, credentials) {
  const field = page.locator('#token');
  await field.fill(credentials);
  await field.press('Enter');
}

/** The credentials must stand nowhere but in their field. */
async function assertKeptInside(page, credentials) {
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.body.innerText]));
  assert.ok(!kept.includes(credentials), 'credentials are to be seen, or kept');
}

const REFUSED = /status of (401|403|429)|WebSocket connection to .* failed/;

test('the page: who shows nothing is told, a token chooses a session that it is for, over every transport', async (t) => {
  const { tabs, token } = await start(t);
  const page = await tabs.open();
  await says(page, 'The relay asks who you are');
  const credentials = await token('--receive', 'ann-*', '--send', '*');
  await enter(page, credentials);
  await connected(page);
  const name = await session(page);
  assert.match(name, /^ann-/);
  await page.locator('#wire summary').click();
  let n = 0;
  for (const transport of ['WebSocket', 'event stream', 'long poll', 'x0’s polling']) {
    await choose(page, transport);
    await connected(page);
    await page.getByLabel('To session').fill(name);
    await send(page, `{"n":${++n}}`);
    await arrived(page, n);
    await counts(page, 'accepted', n);
  }
  await assertKeptInside(page, credentials);
  await enter(page, 'nonsense');
  await choose(page, 'long poll');
  await says(page, 'The relay does not take what is under Access');
  tabs.assertClean(REFUSED);
});

test('the page: a signed session names its session, over v1 and x0’s wire', async (t) => {
  const { tabs, signed } = await start(t);
  const page = await tabs.open();
  await says(page, 'The relay asks who you are');
  const credentials = signed('my tab.1');
  await enter(page, credentials);
  await connected(page);
  assert.equal(await session(page), 'my tab.1');
  await page.locator('#wire summary').click();
  let n = 0;
  for (const transport of ['the best that works', 'x0’s polling']) {
    await choose(page, transport);
    await connected(page);
    await page.getByLabel('To session').fill('my tab.1');
    await send(page, `{"n":${++n}}`);
    assert.equal((await arrived(page, n)).at(-1).from, 'my tab.1');
  }
  await assertKeptInside(page, credentials);
  tabs.assertClean(REFUSED);
});

test('the doctor: it asks for a token, and goes through with one', async (t) => {
  const { base, tabs, token, signed } = await start(t);
  const page = await tabs.context.newPage();
  await page.goto(`${base}/doctor?waits=1&patience=60`);
  await says(page, 'The relay answers');
  await page.locator('[data-check=reach] .words').filter({ hasText: 'The relay asks who you are' }).waitFor();
  const again = page.getByRole('button', { name: 'Check again' });
  for (const credentials of [signed('mine'), await token('--receive', 'mine', '--send', '*')]) {
    await enter(page, credentials);
    await again.click();
    await page.locator('[data-check=reach] .words').filter({ hasText: 'are for certain sessions' }).waitFor();
    await says(page, /^Done\./);
    assert.ok((await (await fetch(`${base}/metrics`)).text()).includes('x0_relay_messages_accepted_total 0'));
  }
  const credentials = await token('--receive', 'ann-*', '--send', '*');
  await enter(page, credentials);
  await again.click();
  await says(page, 'Done. Nothing is in the way.');
  const verdicts = await page.locator('.verdict').evaluateAll((all) => all.map(({ dataset }) => dataset.verdict));
  assert.deepEqual([...new Set(verdicts)].sort(), ['good', 'info']);
  await assertKeptInside(page, credentials);
  tabs.assertClean(REFUSED);
});
