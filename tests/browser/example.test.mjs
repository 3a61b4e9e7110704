// What stands in examples/ works as it is: the two-session page, and the script with curl.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startBrowser } from './lib/browser.mjs';
import { startRelay } from './lib/relay.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

test('examples/x0-example-10: a form goes from page to page and back', async (t) => {
  const { base } = await startRelay(t);
  const context = await browser.context(t);
  const open = async (session) => {
    const page = await context.newPage();
    await page.goto(`${browser.origin}/example/?session=${session}&relay=${base}`);
    return page;
  };
  const [a, b] = [await open('tab-a'), await open('tab-b')];
  for (const [from, to, line] of [[a, b, 'tab-a: hello, b'], [b, a, 'tab-b: hello, a'], [a, b, 'tab-a: <b>näxt</b>']]) {
    await from.getByLabel('Text').fill(line.slice(7));
    await from.getByRole('button', { name: 'Send' }).click();
    await to.getByRole('listitem').filter({ hasText: line }).waitFor({ timeout: 5000 });
  }
  assert.deepEqual(await b.getByRole('listitem').allTextContents(), ['tab-a: hello, b', 'tab-a: <b>näxt</b>']);
  assert.deepEqual(await a.getByRole('listitem').allTextContents(), ['tab-b: hello, a']);
  assert.match(await a.getByRole('status').textContent(), /^Sent to tab-b\.$/);
});

test('examples/curl.sh: one waits, one sends', async (t) => {
  const { base } = await startRelay(t);
  const script = fileURLToPath(new URL('../../examples/curl.sh', import.meta.url));
  const { stdout, stderr } = await promisify(execFile)('sh', [script, base], { timeout: 15_000 });
  assert.equal(stderr, '');
  assert.match(stdout, /tab-a got \{"messages": null, "status": "ok"\}/);
  assert.match(stdout, /tab-b got \{"messages": \[\{"text":"hello","n":12345678901234567890,"session_src":"tab-a"\}\]\}/);
});
