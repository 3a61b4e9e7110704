// The page at `/doctor`: through a sound connection it finds nothing, and of a proxy that is in the way it names each fault.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBetween } from './lib/between.mjs';
import { startBrowser } from './lib/browser.mjs';
import { assertContrast, assertFits, AWAY, says, Tabs, WITHIN } from './lib/pages.mjs';
import { startRelay } from './lib/relay.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

/** The longest that a whole examination may take here. */
const DONE = { timeout: 150_000 };

/** Opens the page. It is patient, so that a busy machine is no fault; `streams`: with event streams for so many seconds. */
async function open(context, base, { waits = '1', streams = 60 } = {}) {
  const page = await context.newPage();
  await page.goto(`${base}/doctor?waits=${waits}&patience=60&streams=${streams}`);
  return page;
}

/** What it found, by check: `{ verdict, words, fix }`. */
async function findings(page) {
  await says(page, /^Done\./, DONE);
  const rows = await page.locator('[data-check]').evaluateAll((items) =>
    items.map((item) => [
      item.dataset.check,
      {
        verdict: item.querySelector('.verdict').dataset.verdict,
        words: item.querySelector('.words').textContent,
        fix: item.querySelector('.fix').textContent,
      },
    ]),
  );
  return Object.fromEntries(rows);
}

test('with nothing in the way it has nothing to say, and its report can be copied', async (t) => {
  const { base } = await startRelay(t, '--wait', '1s');
  const context = await browser.context(t, { permissions: ['clipboard-read', 'clipboard-write'] });
  const tabs = new Tabs(context, base);
  const page = await open(context, base, { waits: '1,2' });
  const found = await findings(page);
  await says(page, 'Done. Nothing is in the way.');
  assert.ok(Object.keys(found).length >= 17);
  for (const [id, { verdict, words }] of Object.entries(found)) {
    assert.equal(verdict, id === 'version' ? 'info' : 'good', `${id}: ${words}`);
    assert.notEqual(words, '');
  }
  await page.bringToFront();
  await page.getByRole('button', { name: 'Copy the report' }).click();
  await page.getByRole('status').filter({ hasText: 'Copied.' }).waitFor(WITHIN);
  const report = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(report, /^x0-relay doctor, \d{4}-/);
  assert.ok(report.includes(`address  ${base}/`), report);
  for (const { words } of Object.values(found)) assert.ok(report.includes(words), words);
  assert.doesNotMatch(report, /undefined|NaN|\[object/);
  // It leaves nothing behind.
  const metrics = await (await fetch(`${base}/metrics`)).text();
  assert.match(metrics, /^x0_relay_messages_waiting 0$/m);

  await assertFits(page);
  await page.getByRole('button', { name: 'Check again' }).click();
  assert.deepEqual(Object.keys(await findings(page)), Object.keys(found));
  tabs.assertClean(/status of 429/);
});

/** Proxies that are in the way, and what is said of each: a check's verdict, and what must stand in its words or its fix. */
const FAULTS = [
  ['WebSockets refused', { sockets: 'refuse' }, { websocket: ['fault', /proxy_set_header Upgrade/] }],
  ['event streams held back', { answers: 'buffer', streams: 2 }, { events: ['fault', /proxy_buffering off/], 'events-quiet': ['info', /does not arrive/] }],
  ['event streams compressed', { events: 'gzip' }, { compression: ['warn', /gzip off/], events: ['good', /./] }],
  ['impatience', { patience: 1500, waits: '4', wait: '5s' }, {
    'poll-4': ['fault', /status 504 after .* HTML page.*proxy_read_timeout/s],
    'x0-poll': ['fault', /status 504 .*stops for good/s],
    'events-quiet': ['fault', /It was cut after .*keepalive = "1s"/s],
    'websocket-quiet': ['fault', /It was cut after .*code 1006.*keepalive = "1s"/s],
  }],
  ['headers removed from requests', { strip: ['idempotency-key', 'last-event-id', 'authorization'] }, {
    headers: ['fault', /Authorization, Idempotency-Key, Last-Event-ID/],
    idempotency: ['fault', /accepted twice/],
    resumption: ['fault', /begins anew/],
  }],
  ['headers removed from answers', { hide: ['retry-after', 'access-control-allow-origin'] }, {
    refusals: ['warn', /Retry-After is removed/],
    cors: ['fault', /without Access-Control-Allow-Origin/],
  }],
  ['CORS answered twice', { double: true }, { cors: ['fault', /twice/] }],
  ['errors replaced', { replaceErrors: true }, { headers: ['fault', /status 429 .*HTML page/], refusals: ['fault', /proxy_intercept_errors off/] }],
  ['answers remembered', { remember: true }, { caching: ['fault', /remembers answers.*proxy_cache off/s] }],
  ['no protocol v1', { v1: false }, { reach: ['fault', /Let the proxy pass \/v1\//], poll: ['skipped', /needs protocol v1/] }],
];

for (const [name, { waits, wait = '1s', streams, ...behaviour }, expected] of FAULTS) {
  test(`it names what a proxy does, and the setting that helps: ${name}`, async (t) => {
    const { base } = await startRelay(t, '--wait', wait);
    const between = Object.assign(await startBetween(t, base), behaviour);
    const context = await browser.context(t);
    const tabs = new Tabs(context, between.base);
    const page = await open(context, between.base, { waits, streams });
    const found = await findings(page);
    const report = await page.locator('#report').textContent();
    for (const [id, [verdict, words]] of Object.entries(expected)) {
      const said = `${found[id].words}\n${found[id].fix}`;
      assert.equal(found[id].verdict, verdict, `${id}: ${said}`);
      assert.match(said, words, id);
      assert.ok(report.includes(found[id].words), report);
    }
    tabs.assertClean(AWAY);
  });
}

test('without a relay it says so, and begins again when it is asked to', async (t) => {
  const { base } = await startRelay(t, '--wait', '1s');
  const between = await startBetween(t, base);
  const context = await browser.context(t);
  const tabs = new Tabs(context, between.base);
  await context.route('**/healthz', (route) => route.abort());
  const page = await open(context, between.base);
  const found = await findings(page);
  assert.equal(found.reach.verdict, 'fault');
  assert.match(found.reach.words, /the connection failed/);
  assert.equal(found.websocket.verdict, 'todo');
  await context.unroute('**/healthz');
  await page.getByRole('button', { name: 'Check again' }).click();
  await says(page, 'Done. Nothing is in the way.', DONE);
  tabs.assertClean(AWAY, [between.base]);
});

for (const colorScheme of ['light', 'dark']) {
  test(`it can be read, ${colorScheme}`, async (t) => {
    const { base } = await startRelay(t, '--wait', '1s');
    const between = Object.assign(await startBetween(t, base), { hide: ['retry-after'], replaceErrors: false, double: true });
    const context = await browser.context(t, { colorScheme });
    const page = await open(context, between.base);
    await findings(page);
    await assertContrast(page, ['p', 'a', 'h2', 'h3', '#state', '.words', '.fix', '[data-verdict="fault"]', '[data-verdict="warn"]', '[data-verdict="good"]', '[data-verdict="info"]', 'button'], colorScheme);
  });
}
