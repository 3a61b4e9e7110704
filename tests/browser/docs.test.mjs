// The documentation at `/docs`: it shows every operation that `/openapi.json` has, asks no other host, and its examples
// do what they say.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { startBrowser } from './lib/browser.mjs';
import { startRelay } from './lib/relay.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

const WITHIN = { timeout: 20_000 };

/** Opens the page; at its end it may have complained of nothing and asked nobody else. */
async function open(t, base, { path = '/docs', ...options } = {}) {
  const context = await browser.context(t, options);
  const [complaints, asked] = [[], []];
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  context.on('weberror', (error) => complaints.push(error.error().stack));
  context.on('request', (request) => asked.push(request.url()));
  const page = await context.newPage();
  await page.goto(base + path);
  await page.locator('article[data-operation]').first().waitFor(WITHIN);
  const assertClean = () => {
    assert.deepEqual(complaints, []);
    assert.ok(asked.includes(`${base}/openapi.json`), 'requests are seen');
    assert.deepEqual(asked.filter((url) => new URL(url).origin !== base && !url.startsWith('data:')), []);
  };
  return { page, assertClean };
}

async function operationsOf(base) {
  const { paths } = await (await fetch(`${base}/openapi.json`)).json();
  const methods = ['get', 'post', 'put', 'delete'];
  return Object.entries(paths).flatMap(([path, item]) =>
    methods.filter((method) => item[method]).map((method) => ({ place: `${method} ${path}`, ...item[method] })),
  );
}

test('every operation, schema and kind of problem is on the page, each with its anchor', async (t) => {
  const { base } = await startRelay(t);
  const api = await (await fetch(`${base}/openapi.json`)).json();
  const operations = await operationsOf(base);
  const { page, assertClean } = await open(t, base, { path: '/documentation' });
  assert.equal(new URL(page.url()).pathname, '/docs');

  const shown = await page.locator('article[data-operation]').evaluateAll((articles) =>
    articles.map((article) => ({
      place: article.dataset.operation,
      id: article.id,
      title: article.querySelector('h3').firstChild.textContent,
      statuses: [...article.querySelectorAll('td:first-child')].map((cell) => cell.textContent).filter((text) => /^\d{3}$/.test(text)),
    })),
  );
  const byPlace = (a, b) => (a.place < b.place ? -1 : 1);
  const wanted = operations.map(({ place, operationId, summary, responses }) => ({
    place,
    id: operationId,
    title: summary,
    statuses: Object.keys(responses),
  }));
  assert.ok(wanted.length > 25);
  assert.deepEqual(shown.sort(byPlace), wanted.sort(byPlace));
  for (const name of Object.keys(api.components.schemas)) assert.equal(await page.locator(`#schema-${name}`).count(), 1, name);
  const kinds = await page.locator('#problems td:first-child').allTextContents();
  assert.deepEqual(kinds, api['x-problems'].map(({ kind }) => kind));
  // Nothing that was meant as text has become markup, or the other way round.
  assert.doesNotMatch(await page.locator('main').innerText(), /\*\*|\]\(|\[object|undefined|NaN/);

  const anchors = await page.locator('a[href^="#"]').evaluateAll((links) => links.map((link) => link.getAttribute('href').slice(1)));
  assert.ok(anchors.length > 100);
  const ids = await page.locator('[id]').evaluateAll((elements) => elements.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length, 'an id twice');
  assert.deepEqual(anchors.filter((id) => !ids.includes(id)), []);
  assertClean();
});

test('the contents lead to an operation, and a link to one leads there at once', async (t) => {
  const { base } = await startRelay(t);
  const { page, assertClean } = await open(t, base);
  await page.getByRole('navigation').getByRole('link', { name: '/v1/ws' }).click();
  assert.equal(new URL(page.url()).hash, '#openWebSocket');
  const top = (id) => page.evaluate((name) => document.getElementById(name).getBoundingClientRect().top, id);
  assert.ok(Math.abs(await top('openWebSocket')) < 100);

  const linked = await open(t, base, { path: '/docs#schema-Gap' });
  await linked.page.waitForFunction(() => Math.abs(document.getElementById('schema-Gap').getBoundingClientRect().top) < 100);
  assertClean();
  linked.assertClean();
});

for (const colorScheme of ['light', 'dark']) {
  test(`it can be read on a phone and on a desk, ${colorScheme}`, async (t) => {
    const { base } = await startRelay(t);
    const { page, assertClean } = await open(t, base, { colorScheme });
    for (const [width, height] of [[320, 568], [390, 844], [1280, 800]]) {
      await page.setViewportSize({ width, height });
      const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(inner <= outer, `${inner} px of content on ${outer}`);
    }
    // WCAG 2.1: the contrast of every kind of text with what is behind it.
    const contrast = await page.evaluate(() => {
      const light = (colour) => {
        const [r, g, b] = colour.match(/\d+/g).map((part) => part / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = light(getComputedStyle(document.body).backgroundColor);
      const texts = ['p', 'a', '.hint', 'td', 'th', '.must', 'nav a'].map((name) => light(getComputedStyle(document.querySelector(name)).color));
      return { behind, least: Math.min(...texts.map((text) => (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05))) };
    });
    assert.equal(contrast.behind < 0.5, colorScheme === 'dark');
    assert.ok(contrast.least >= 4.5, `a contrast of ${contrast.least}`);
    assertClean();
  });
}

/** What a command prints; one that ends because its time is up has done its work. */
function run(command) {
  return new Promise((resolve, reject) => {
    execFile('sh', ['-c', command], { timeout: 15_000 }, (error, stdout) => {
      if (error && error.code !== 28) reject(error);
      else resolve(stdout);
    });
  });
}

const samplesOf = (page, lang) =>
  page.locator('figure').evaluateAll(
    (figures, wanted) =>
      figures
        .filter((figure) => figure.querySelector('figcaption').firstChild.textContent === wanted)
        .map((figure) => ({ id: figure.closest('article').id, source: figure.querySelector('pre').textContent })),
    lang,
  );

test('every example with curl works as it stands there', async (t) => {
  const { base } = await startRelay(t, '--wait', '200ms');
  const { page, assertClean } = await open(t, base);
  const samples = await samplesOf(page, 'curl');
  assert.ok(samples.length > 25);
  for (const { id, source } of samples) {
    assert.ok(source.includes(base), source);
    const output = await run(source.replace('--max-time 5', '--max-time 1'));
    if (id !== 'description') assert.doesNotMatch(output, /"kind":|"error": true/, source);
    if (id === 'streamEvents') assert.match(output, /^event: relay:welcome$/m);
    if (id === 'openWebSocket') assert.match(output, /^HTTP\/1\.1 101 [^]*"type":"welcome"/);
    if (id !== 'documentationMoved') assert.notEqual(output, '', source);
  }
  assertClean();
});

test('every example in JavaScript receives what is sent', async (t) => {
  const { base } = await startRelay(t, '--wait', '1s');
  const { page } = await open(t, base);
  const samples = await samplesOf(page, 'JavaScript');
  assert.deepEqual(samples.map(({ id }) => id).sort(), ['openWebSocket', 'pollMessages', 'streamEvents']);
  for (const { id, source } of samples) {
    const tab = await open(t, base);
    const heard = tab.page.waitForEvent('console', {
      ...WITHIN,
      predicate: async (message) => (await message.args()[0]?.jsonValue())?.payload?.from === id,
    });
    await tab.page.evaluate(`(async () => { ${source} })(); 0`);
    const body = JSON.stringify({ to: 'session:tab-b', payload: { from: id } });
    assert.equal((await fetch(`${base}/v1/messages`, { method: 'POST', body })).status, 201);
    await heard;
    await tab.page.close();
  }
});
