// The page at `/`: what a stranger sees first. Two tabs talk, bytes stay as they are, and nothing comes from, or goes to,
// another host. What happens when the connection does not hold is in resume.test.mjs.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startBrowser } from './lib/browser.mjs';
import { arrived, assertContrast, assertFits, choose, connected, counts, post, says, send, session, Tabs, told, WITHIN } from './lib/pages.mjs';
import { startRelay } from './lib/relay.mjs';

const shell = promisify(execFile);

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

/** A test with a relay and tabs; at its end no tab may have complained of anything but what `expected` matches. */
function pageTest(name, { args = [], expected, options }, body) {
  test(name, async (t) => {
    const relay = await startRelay(t, ...args);
    const tabs = new Tabs(await browser.context(t, options), relay.base);
    await body(tabs, relay, t);
    tabs.assertClean(expected);
  });
}

test('a browser gets the page with its headers, everybody else the health JSON', async (t) => {
  const { base } = await startRelay(t);
  const get = (path, accept, method = 'GET') => fetch(base + path, { method, headers: { accept } });
  for (const accept of ['*/*', 'application/json']) {
    const health = await get('/', accept);
    assert.match(health.headers.get('content-type'), /^application\/json/);
    assert.equal(health.headers.get('vary'), 'Accept');
    assert.equal((await health.json()).name, 'x0-relay');
  }
  const html = 'text/html,application/xhtml+xml,*/*;q=0.8';
  for (const [path, accept, type] of [
    ['/', html, 'text/html; charset=utf-8'],
    ['/doctor', html, 'text/html; charset=utf-8'],
    ['/assets/try.js', '*/*', 'text/javascript; charset=utf-8'],
    ['/assets/style.css', 'text/css', 'text/css; charset=utf-8'],
  ]) {
    const { status, headers } = await get(path, accept);
    assert.equal(status, 200);
    assert.equal(headers.get('content-type'), type);
    assert.equal(headers.get('cache-control'), 'no-cache');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
    assert.equal(headers.get('referrer-policy'), 'no-referrer');
    assert.equal(
      headers.get('content-security-policy'),
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    const head = await get(path, accept, 'HEAD');
    assert.deepEqual([head.status, head.headers.get('content-type')], [200, type]);
    assert.equal((await get(path, accept, 'POST')).status, 405);
  }
  for (const path of ['/assets/', '/assets/index.html', '/index.html']) assert.equal((await get(path, html)).status, 404);
});

test('the client that the page uses is the one in client-js/dist', async (t) => {
  const { base } = await startRelay(t);
  const served = await (await fetch(`${base}/assets/x0-relay.js`)).text();
  assert.equal(served, await readFile(new URL('../../client-js/dist/x0-relay.min.js', import.meta.url), 'utf8'));
});

test('pages = "off": health for everybody, and nothing else for people', async (t) => {
  const { base } = await startRelay(t, '--pages', 'off');
  const get = (path) => fetch(base + path, { headers: { accept: 'text/html' } });
  assert.equal((await (await get('/')).json()).name, 'x0-relay');
  for (const path of ['/doctor', '/doctor/echo', '/docs', '/documentation', '/assets/try.js', '/assets/x0-relay.js']) {
    const answer = await get(path);
    assert.equal(answer.status, 404, path);
    assert.match((await answer.json()).detail, /^nothing lives here; \/openapi\.json has all addresses/);
  }
  assert.equal((await get('/openapi.json')).status, 200);
});

pageTest('two tabs talk both ways, in order, each number as it was spelled', {}, async (tabs) => {
  const first = await tabs.open();
  const second = await tabs.openSecond(first);
  const [a, b] = [await session(first), await session(second)];
  assert.match(a, /^[a-z]+-[a-z]+-[a-z0-9]{4}$/);
  assert.notEqual(a, b);
  assert.equal(await first.title(), `${a} · x0-relay`);

  const payloads = ['{"n":12345678901234567890}', '{ "n" : 1e400, "m":-0.10 }', '{}', '1e400', '"x"', '{"ä":"\\u00e4\\/ <b>&amp;</b>"}'];
  payloads.push('{"messages":[{"a":"}],{\\"\\\\"},[]],"b":{}}', '{"payload":1,"payload":{"id":"$&"}}');
  for (const [from, to, name] of [[first, second, a], [second, first, b]]) {
    for (const payload of payloads) await send(from, payload);
    const mail = await arrived(to, payloads.length);
    assert.deepEqual(mail.map(({ raw }) => raw), payloads);
    assert.deepEqual(mail.map(({ number }) => number), payloads.map((_, index) => index + 1));
    for (const { from: sender, time } of mail) {
      assert.equal(sender, name);
      assert.ok(Math.abs(Date.now() - Date.parse(time)) < 300_000, time);
    }
    await counts(from, 'accepted', payloads.length);
    // Both tabs have learnt how long it took.
    await told(from, /received there after [\d.]+ m?s\./);
    await to.locator('#latency').filter({ hasText: /^[\d.]+ m?s$/ }).waitFor(WITHIN);
  }
});

pageTest('every transport by hand, live, with one cursor, and the wire can be looked at', { args: ['--wait', '1s'] }, async (tabs, { base }) => {
  const page = await tabs.open('#session=tab&to=tab');
  await page.locator('#wire summary').click();
  let n = 0;
  for (const [name, over, passed] of [
    ['WebSocket', 'WebSocket', '"type":"welcome"'],
    ['event stream', 'an event stream', 'event: relay:welcome'],
    ['long poll', 'long poll', 'GET /v1/messages?session=tab'],
    ['the best that works', 'WebSocket', '"type":"welcome"'],
  ]) {
    await choose(page, name);
    await connected(page, over);
    await send(page, `{"n":${++n}.0}`);
    await post(base, 'program', 'tab', `{"n":${++n}.0}`);
    const mail = await arrived(page, n);
    assert.deepEqual(mail.map(({ raw }) => JSON.parse(raw).n).sort((x, y) => x - y), mail.map((_, index) => index + 1));
    await page.locator('#passed pre').filter({ hasText: passed }).first().waitFor(WITHIN);
    await page.locator('#cursor').filter({ hasText: `.${n}` }).waitFor(WITHIN);
    await counts(page, 'accepted', n / 2);
  }
  await counts(page, 'received', n);
  for (const name of ['waiting', 'missing', 'repeated', 'again']) await counts(page, name, 0);

  await choose(page, 'x0’s polling');
  await connected(page, 'x0’s polling');
  await send(page, '{"n":1e400}');
  const mail = await arrived(page, n + 1);
  assert.equal(mail.at(-1).raw, '{"n":1e400,"session_src":"tab"}');
  await page.locator('#passed pre').filter({ hasText: 'POST /get' }).first().waitFor(WITHIN);
  await counts(page, 'accepted', n / 2 + 1);
  await page.reload();
  await connected(page, 'x0’s polling');
});

pageTest('many messages come in their order', {}, async (tabs, { base }) => {
  for (let n = 0; n < 250; n += 1) await post(base, 'program', 'tab', `{"n":${n}.0}`);
  const page = await tabs.open('#session=tab');
  await counts(page, 'received', 250);
  // The page keeps the last 200 of them.
  const mail = await arrived(page, 200);
  assert.deepEqual(mail.map(({ raw }) => raw), mail.map((_, index) => `{"n":${50 + index}.0}`));
  assert.deepEqual([mail[0].number, mail[199].number], [51, 250]);
});

pageTest('a session may be called anything; the terminal\'s lines are right for it', {}, async (tabs) => {
  const odd = 'a+b c%20&to=x "\'\\ ä <i>😀</i> #\u202e:z';
  const page = await tabs.open(`#session=${encodeURIComponent(odd)}&to=${encodeURIComponent(odd)}`);
  assert.equal(await session(page), odd);
  assert.equal(await page.getByLabel('To session').inputValue(), odd);
  await send(page, '{"to":"myself"}');
  await told(page, `Sent to ${odd} at`);
  const [mail] = await arrived(page, 1);
  assert.deepEqual([mail.from, mail.raw], [odd, '{"to":"myself"}']);

  const line = await page.getByText('from curl').textContent();
  const { stdout } = await shell('sh', ['-c', line], { timeout: 60_000 });
  assert.equal(JSON.parse(stdout).status, 'ok', line);
  const [, fromCurl] = await arrived(page, 2);
  assert.deepEqual([fromCurl.from, fromCurl.raw], ['terminal', '{"hello":"from curl"}']);

  await page.getByLabel('To session').fill('terminal');
  await send(page, '{"n":1}');
  await counts(page, 'accepted', 2);
  const take = await page.locator('#curl-get').textContent();
  const taken = await shell('sh', ['-c', take], { timeout: 60_000 });
  assert.deepEqual(JSON.parse(taken.stdout).messages, [{ n: 1, session_src: odd }]);
});

pageTest('the session is kept over a reload, changed by hand, and by the address', {}, async (tabs, { base }) => {
  const page = await tabs.open();
  const name = await session(page);
  await page.reload();
  assert.equal(await session(page), name);
  assert.equal(await page.getByLabel('To session').inputValue(), name, 'alone, it talks to itself');

  const field = page.getByLabel('Session', { exact: true });
  await field.fill('by-hand');
  await field.press('Enter');
  assert.equal(await page.title(), 'by-hand · x0-relay');
  await post(base, 'program', 'by-hand', '{"n":1}');
  await arrived(page, 1);
  await page.evaluate(() => {
    location.hash = '#session=by-address';
  });
  await page.waitForFunction(() => document.title.startsWith('by-address'), undefined, WITHIN);
  await post(base, 'program', 'by-address', '{"n":2}');
  await arrived(page, 2);
  await field.fill('by-hand-again');
  await field.press('Enter');
  assert.equal(new URL(page.url()).hash, '#session=by-hand-again');
  await page.reload();
  assert.equal(await session(page), 'by-hand-again');
});

pageTest('what the relay refuses is said in words', { args: ['--error-hold', '50ms', '--message-bytes', '100'], expected: /status of 4/ }, async (tabs, { base }) => {
  const page = await tabs.open('#session=tab&to=tab');
  await connected(page);
  await send(page, '{"n":NaN}');
  await told(page, 'Not sent. The message is not JSON:');
  await send(page, '{}, "session_dst": "other"');
  await told(page, 'Not sent. The message is not JSON:');
  await send(page, JSON.stringify('x'.repeat(200)));
  await told(page, /^Not sent\. .*message-bytes/);
  await choose(page, 'x0’s polling');
  await connected(page, 'x0’s polling');
  await send(page, '[1]');
  await told(page, 'Not sent. Payload is not an object: payload is no object; a JSON object is expected.');
  await choose(page, 'long poll');

  const field = page.getByLabel('Session', { exact: true });
  await field.fill('ä'.repeat(129));
  await field.press('Enter');
  await says(page, /The relay refuses: .*a session id may have at most 256 bytes/);
  await field.fill('better');
  await field.press('Enter');
  await connected(page);
  await post(base, 'program', 'better', '{}');
  await arrived(page, 1);
  await counts(page, 'waiting', 0);
});

pageTest('on a phone nothing scrolls sideways, on a desk neither', {}, async (tabs) => {
  const long = 'x'.repeat(250);
  const page = await tabs.open(`#session=${long}&to=${long}`);
  await send(page, `{"long":"${'y'.repeat(5000)}"}`);
  await arrived(page, 1);
  await told(page, `Sent to ${long}`);
  await page.locator('#wire summary').click();
  await assertFits(page);
});

for (const colorScheme of ['light', 'dark']) {
  pageTest(`it can be read, ${colorScheme}`, { options: { colorScheme } }, async (tabs) => {
    const page = await tabs.open('#session=tab&to=tab');
    await connected(page);
    await send(page, '{}');
    await arrived(page, 1);
    await assertContrast(page, ['p', 'a', '.hint', 'label', 'legend', 'dt', 'dd', 'h2', 'pre', 'button.main', '#cut', 'time', '#state', '#sent'], colorScheme);
    await page.getByRole('button', { name: 'Cut the connection' }).click();
    await says(page, 'You have cut the connection.');
    await assertContrast(page, ['#state', '#cut'], colorScheme);
  });
}

pageTest('keys alone will do, and everything has a name', {}, async (tabs) => {
  const page = await tabs.open('#session=keys&to=keys');
  await connected(page);
  const focused = [];
  for (let n = 0; n < 12; n += 1) {
    await page.keyboard.press('Tab');
    focused.push(await page.evaluate(() => {
      const { activeElement: element } = document;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      if (outlineStyle === 'none' || outlineWidth === '0px') throw new Error('the focus cannot be seen');
      return (element.labels?.[0]?.textContent ?? element.textContent).trim();
    }));
    if (focused.at(-1) === 'Message, JSON') {
      await page.keyboard.press('End');
      await page.keyboard.press('Control+Enter');
    }
  }
  const pages = ['Try it', 'Doctor', 'Docs'];
  const tab = ['Open a second tab', 'Cut the connection', 'Session', 'the best that works', 'Access'];
  assert.deepEqual(focused, [...pages, ...tab, 'To session', 'Message, JSON', 'Send', 'Send one every second']);
  await arrived(page, 1);
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Enter');
  await arrived(page, 2);
  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll('input, textarea, button, section, summary')]
      .filter((element) => !element.labels?.length && !element.textContent.trim() && !element.ariaLabel)
      .map((element) => element.outerHTML),
  );
  assert.deepEqual(unnamed, []);
});

pageTest('nothing inline runs on the page, and the browser says so', { expected: /Content Security Policy/ }, async (tabs) => {
  const page = await tabs.open();
  await connected(page);
  const seen = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const violated = [];
        document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => {
          violated.push(effectiveDirective);
          if (violated.length === 3) resolve({ violated: violated.sort(), ran: window.ran });
        });
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        document.body.setAttribute('style', 'color: red');
        fetch('http://localhost:9/').catch(() => {});
      }),
  );
  assert.deepEqual(seen, { violated: ['connect-src', 'script-src-elem', 'style-src-attr'], ran: undefined });
});
