// The page at `/`: what a stranger sees first. Two tabs talk, bytes stay as they are, the relay may go and come back, and
// nothing comes from, or goes to, another host.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startBrowser } from './lib/browser.mjs';
import { startRelay } from './lib/relay.mjs';

const shell = promisify(execFile);

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

const WITHIN = { timeout: 20_000 };
/** What the browser itself says of a relay that is away. */
const AWAY = /Failed to load resource: net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE)/;

/** A test with a relay and tabs; at its end no tab may have complained of anything but what `expected` matches. */
function pageTest(name, { args = [], expected = /(?!)/ }, body) {
  test(name, async (t) => {
    const relay = await startRelay(t, ...args);
    const tabs = new Tabs(await browser.context(t), relay.base);
    await body(tabs, relay, t);
    tabs.assertClean(expected);
  });
}

/** The tabs of one browser, and what they complained of and asked for. */
class Tabs {
  #complaints = [];
  #asked = [];

  constructor(context, base) {
    this.context = context;
    this.base = base;
    context.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.#complaints.push(message.text());
    });
    context.on('weberror', (error) => this.#complaints.push(error.error().stack));
    context.on('request', (request) => this.#asked.push(request.url()));
  }

  /** Opens the page. */
  async open(hash = '') {
    const page = await this.context.newPage();
    await page.goto(`${this.base}/${hash}`);
    return page;
  }

  /** Presses "Open a second tab". */
  async openSecond(first) {
    const opened = this.context.waitForEvent('page', WITHIN);
    await first.getByRole('button', { name: 'Open a second tab' }).click();
    const second = await opened;
    await second.getByRole('status').filter({ hasText: 'Waiting for mail.' }).waitFor(WITHIN);
    return second;
  }

  assertClean(expected) {
    assert.deepEqual(this.#complaints.filter((text) => !expected.test(text)), []);
    assert.ok(this.#asked.includes(`${this.base}/get`), 'requests are seen');
    const elsewhere = this.#asked.filter((url) => new URL(url).origin !== this.base && !url.startsWith('data:'));
    assert.deepEqual(elsewhere, []);
  }
}

const session = (page) => page.getByLabel('Session', { exact: true }).inputValue();

async function send(page, payload) {
  await page.bringToFront(); // a tab behind another one is drawn too seldom to be clicked on
  await page.getByLabel('Message, a JSON object').fill(payload);
  await page.getByRole('button', { name: 'Send', exact: true }).click();
}

/** Waits for `count` messages and tells them, oldest first. */
async function arrived(page, count) {
  const items = page.getByRole('log').getByRole('listitem');
  await items.nth(count - 1).waitFor(WITHIN);
  const all = await items.evaluateAll((list) =>
    list.map((item) => ({
      number: item.value,
      from: item.querySelector('bdi').textContent,
      time: item.querySelector('time').dateTime,
      raw: item.querySelector('pre').textContent,
    })),
  );
  assert.equal(all.length, count);
  return all.reverse();
}

/** Sends as a program would. */
async function post(base, from, to, payload) {
  const names = `"session_src":${JSON.stringify(from)},"session_dst":${JSON.stringify(to)}`;
  const answer = await fetch(`${base}/set`, { method: 'POST', body: `{${names},"payload":${payload}}` });
  assert.equal((await answer.json()).status, 'ok');
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

pageTest('two tabs talk both ways, in order, each number as it was spelled', {}, async (tabs) => {
  const first = await tabs.open();
  const second = await tabs.openSecond(first);
  const [a, b] = [await session(first), await session(second)];
  assert.match(a, /^[a-z]+-[a-z]+-[a-z0-9]{4}$/);
  assert.notEqual(a, b);
  assert.equal(await first.title(), `${a} · x0-relay`);

  const payloads = ['{"n":12345678901234567890}', '{ "n" : 1e400, "m":-0.10 }', '{}', '{"ä":"\\u00e4\\/ <b>&amp;</b>"}'];
  payloads.push('{"messages":[{"a":"}],{\\"\\\\"},[]],"b":{}}');
  for (const [from, to, name] of [[first, second, a], [second, first, b]]) {
    await send(from, '{"hello": "world"}');
    for (const payload of payloads) await send(from, payload);
    const mail = await arrived(to, 1 + payloads.length);
    const want = ['{"hello": "world"}', ...payloads].map((text) => {
      const members = text.slice(0, -1);
      return `${members}${members === '{' ? '' : ','}"session_src":"${name}"}`;
    });
    assert.deepEqual(mail.map(({ raw }) => raw), want);
    assert.deepEqual(mail.map(({ number }) => number), want.map((_, index) => index + 1));
    for (const { from: sender, time } of mail) {
      assert.equal(sender, name);
      assert.ok(Math.abs(Date.now() - Date.parse(time)) < 60_000, time);
    }
  }
});

pageTest('the messages of one answer come in their order, however many', {}, async (tabs, { base }) => {
  for (let n = 0; n < 250; n += 1) await post(base, 'program', 'tab', `{"n":${n}.0}`);
  const page = await tabs.open('#session=tab');
  // The page keeps the last 200 of them.
  await page.getByText('{"n":249.0,"session_src":"program"}').waitFor(WITHIN);
  const mail = await arrived(page, 200);
  assert.deepEqual(mail.map(({ raw }) => raw), mail.map((_, index) => `{"n":${50 + index}.0,"session_src":"program"}`));
  assert.deepEqual([mail[0].number, mail[199].number], [51, 250]);
});

pageTest('a session may be called anything; the terminal\'s lines are right for it', {}, async (tabs) => {
  const odd = 'a+b c%20&to=x "\'\\ ä <i>😀</i> #\u202e';
  const page = await tabs.open(`#session=${encodeURIComponent(odd)}&to=${encodeURIComponent(odd)}`);
  assert.equal(await session(page), odd);
  assert.equal(await page.getByLabel('To session').inputValue(), odd);
  await send(page, '{"to":"myself"}');
  await page.getByRole('status').filter({ hasText: `Sent to ${odd} at` }).waitFor(WITHIN);
  const [mail] = await arrived(page, 1);
  assert.equal(mail.from, odd);
  assert.deepEqual(JSON.parse(mail.raw), { to: 'myself', session_src: odd });

  const line = await page.getByText('from curl').textContent();
  const { stdout } = await shell('sh', ['-c', line], { timeout: 15_000 });
  assert.equal(JSON.parse(stdout).status, 'ok', line);
  const [, fromCurl] = await arrived(page, 2);
  assert.deepEqual(JSON.parse(fromCurl.raw), { hello: 'from curl', session_src: 'terminal' });

  await page.getByLabel('To session').fill('terminal');
  await send(page, '{"n":1}');
  const take = await page.getByText('"type":"GET"').textContent();
  const taken = await shell('sh', ['-c', take], { timeout: 15_000 });
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
  await page.waitForFunction(() => document.title.startsWith('by-address'));
  await post(base, 'program', 'by-address', '{"n":2}');
  await arrived(page, 2);
  await field.fill('by-hand-again');
  await field.press('Enter');
  assert.equal(new URL(page.url()).hash, '#session=by-hand-again');
  await page.reload();
  assert.equal(await session(page), 'by-hand-again');
});

pageTest('what the relay refuses is said in words', { args: ['--error-hold', '50ms'] }, async (tabs, { base }) => {
  const page = await tabs.open();
  const says = (text) => page.getByRole('status').filter({ hasText: text }).waitFor(WITHIN);
  await send(page, '[1]');
  await says('Not sent. Payload is not an object: payload is no object; a JSON object is expected.');
  await send(page, '{"n":NaN}');
  await says('Not sent. The message is not JSON:');
  await send(page, '{}, "session_dst": "other"');
  await says('Not sent. The message is not JSON:');
  await page.getByLabel('To session').fill('');
  await send(page, '{}');
  await says('Not sent. Invalid session ID: session_dst: a session id may not be empty.');

  const field = page.getByLabel('Session', { exact: true });
  await field.fill('ä'.repeat(129));
  await field.press('Enter');
  await says(/Invalid session ID: session_src: a session id may have at most 256 bytes, this one has 258\. Trying again in \d+ s/);
  await field.fill('better');
  await field.press('Enter');
  await says('Waiting for mail.');
  await post(base, 'program', 'better', '{}');
  await arrived(page, 1);
});

pageTest('the relay is killed and comes back: so does the page', { expected: AWAY }, async (tabs, relay, t) => {
  const { base } = relay;
  let living = relay;
  const page = await tabs.open();
  const name = await session(page);
  const state = page.getByRole('status').filter({ has: page.locator('#state') });
  for (const life of [1, 2]) {
    await living.kill();
    await state.filter({ hasText: /^The relay is away, trying again in \d+ s/ }).waitFor(WITHIN);
    await send(page, '{}');
    await page.getByRole('status').filter({ hasText: 'Perhaps not sent. The relay is away.' }).waitFor(WITHIN);
    living = await startRelay(t, '--listen', new URL(base).host);
    await state.filter({ hasText: /^Waiting for mail\./ }).waitFor(WITHIN);
    await send(page, `{"life":${life}}`);
    const mail = await arrived(page, life);
    assert.equal(mail.at(-1).raw, `{"life":${life},"session_src":"${name}"}`);
  }
});

pageTest('on a phone nothing scrolls sideways, on a desk neither', {}, async (tabs) => {
  const long = 'x'.repeat(250);
  const page = await tabs.open(`#session=${long}&to=${long}`);
  await send(page, `{"long":"${'y'.repeat(5000)}"}`);
  await arrived(page, 1);
  await page.getByText(`Sent to ${long}`).waitFor(WITHIN);
  for (const [width, height] of [[320, 568], [360, 740], [1280, 800]]) {
    await page.setViewportSize({ width, height });
    const [inner, outer] = await page.evaluate(() => {
      const root = document.documentElement;
      return [Math.max(root.scrollWidth, document.body.scrollWidth), root.clientWidth];
    });
    assert.ok(inner <= outer, `${inner} px of content on ${outer}`);
    // Nor is anything cut off: every element ends within the page.
    const beyond = await page.evaluate(() =>
      [...document.body.querySelectorAll('*')]
        .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth)
        .map((element) => element.outerHTML.slice(0, 80)),
    );
    assert.deepEqual(beyond, []);
  }
});

pageTest('keys alone will do, and everything has a name', {}, async (tabs) => {
  const page = await tabs.open('#session=keys');
  const focused = [];
  for (let n = 0; n < 5; n += 1) {
    await page.keyboard.press('Tab');
    focused.push(await page.evaluate(() => {
      const { activeElement: element } = document;
      assertVisible(getComputedStyle(element));
      return element.labels?.[0]?.textContent ?? element.textContent;
      function assertVisible({ outlineStyle, outlineWidth }) {
        if (outlineStyle === 'none' || outlineWidth === '0px') throw new Error('the focus cannot be seen');
      }
    }));
    if (n === 3) {
      await page.keyboard.press('End');
      await page.keyboard.press('Control+Enter');
    }
  }
  assert.deepEqual(focused, ['Session', 'Open a second tab', 'To session', 'Message, a JSON object', 'Send']);
  await arrived(page, 1);
  await page.keyboard.press('Enter');
  await arrived(page, 2);
  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll('input, textarea, button, section')]
      .filter((element) => !element.labels?.length && !element.textContent.trim() && !element.ariaLabel)
      .map((element) => element.outerHTML),
  );
  assert.deepEqual(unnamed, []);
});

pageTest('nothing inline runs on the page, and the browser says so', { expected: /Content Security Policy/ }, async (tabs) => {
  const page = await tabs.open();
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
