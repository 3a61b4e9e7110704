// The relay's own pages in tabs: what they complain of and ask for, and what a person does on them. What is awaited stays
// until the test goes on; the deadlines are for machines that are busy with something else.

import assert from 'node:assert/strict';

export const WITHIN = { timeout: 60_000 };

/** What the browser itself says of a relay that is away, or of a proxy that is in the way. */
export const AWAY = /Failed to load resource|WebSocket connection to .* failed/;

/** The tabs of one browser context, and what they complained of and asked for. */
export class Tabs {
  #complaints = [];
  #asked = [];

  constructor(context, base) {
    this.context = context;
    this.base = base;
    context.setDefaultTimeout(WITHIN.timeout);
    context.setDefaultNavigationTimeout(WITHIN.timeout);
    context.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.#complaints.push(message.text());
    });
    context.on('weberror', (error) => this.#complaints.push(error.error().stack));
    context.on('request', (request) => this.#asked.push(request.url()));
  }

  /** Opens the page to try the relay. */
  async open(hash = '', base = this.base) {
    const page = await this.context.newPage();
    await page.goto(`${base}/${hash}`);
    return page;
  }

  /** Presses "Open a second tab". */
  async openSecond(first) {
    const opened = this.context.waitForEvent('page', WITHIN);
    await first.getByRole('button', { name: 'Open a second tab' }).click();
    const second = await opened;
    await connected(second);
    return second;
  }

  /** No tab may have complained of anything but what `expected` matches, nor asked another host than these. */
  assertClean(expected = /(?!)/, bases = [this.base]) {
    assert.deepEqual(this.#complaints.filter((text) => !expected.test(text)), []);
    assert.ok(this.#asked.some((url) => url.startsWith(bases[0])), 'requests are seen');
    const elsewhere = this.#asked.filter((url) => !bases.includes(new URL(url).origin) && !url.startsWith('data:'));
    assert.deepEqual(elsewhere, []);
  }
}

const stateOf = (page) => page.locator('#state');

/** Waits until the page is in a state that is told like this. */
export const says = (page, text, within = WITHIN) => stateOf(page).filter({ hasText: text }).waitFor(within);

/** Waits until the tab is connected over this transport, or any. */
export const connected = (page, over = '', within = WITHIN) => says(page, `Connected over ${over}`, within);

/** Tells the page that there is a network again, as the browser does; so no pause between attempts has to end first. */
export const wake = (page) => page.evaluate(() => dispatchEvent(new Event('online')));

/** Waits for a line of one of the status regions. */
export const told = (page, text) => page.getByRole('status').filter({ hasText: text }).waitFor(WITHIN);

export const session = (page) => page.getByLabel('Session', { exact: true }).inputValue();

export async function send(page, payload) {
  await page.bringToFront(); // a tab behind another one is drawn too seldom to be clicked on
  await page.getByLabel('Message, JSON').fill(payload);
  await page.getByRole('button', { name: 'Send', exact: true }).click();
}

export async function press(page, name) {
  await page.bringToFront();
  await page.getByRole('button', { name, exact: true }).click();
}

export async function choose(page, transport) {
  await page.bringToFront();
  await page.getByRole('radio', { name: transport }).check();
}

/** The list of what arrived, oldest first; gaps have no `raw`. */
export async function shown(page) {
  const list = await page.locator('#arrived > li').evaluateAll((items) =>
    items.map((item) => ({
      number: item.value,
      from: item.querySelector('bdi')?.textContent,
      time: item.querySelector('time')?.dateTime,
      raw: item.querySelector('pre')?.textContent,
      gap: item.classList.contains('gap') ? item.textContent : undefined,
    })),
  );
  return list.reverse();
}

/** Waits for `count` messages and tells them, oldest first. */
export async function arrived(page, count) {
  await page.locator('#arrived > li:not(.gap)').nth(count - 1).waitFor(WITHIN);
  const all = (await shown(page)).filter(({ gap }) => gap === undefined);
  assert.equal(all.length, count);
  return all;
}

/** Waits until a figure of "Nothing lost?" is this. */
export const counts = (page, name, value) =>
  page.waitForFunction(([id, text]) => document.getElementById(`n-${id}`).textContent === text, [name, String(value)], WITHIN);

/** Sends as a program would, over x0's wire. */
export async function post(base, from, to, payload) {
  const names = `"session_src":${JSON.stringify(from)},"session_dst":${JSON.stringify(to)}`;
  const answer = await fetch(`${base}/set`, { method: 'POST', body: `{${names},"payload":${payload}}` });
  assert.equal((await answer.json()).status, 'ok');
}

/** Whether nothing is wider than the page, at these sizes. */
export async function assertFits(page) {
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
}

/** WCAG 2.1: the contrast of these kinds of text with what is behind them. */
export async function assertContrast(page, selectors, colorScheme) {
  const found = await page.evaluate((names) => {
    const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
      const [x, y, z] = [r, g, b].map((part) => part / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (element) => {
      const colour = parts(getComputedStyle(element).backgroundColor);
      return colour.length === 4 && colour[3] === 0 && element.parentElement ? behind(element.parentElement) : colour;
    };
    const body = light(behind(document.body));
    const bad = [];
    for (const name of names) {
      const all = [...document.querySelectorAll(name)];
      if (all.length === 0) bad.push(`no ${name}`);
      for (const element of all) {
        const [text, ground] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
        const contrast = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
        if (contrast < 4.5) bad.push(`${name}: ${contrast}`);
      }
    }
    return { body, bad };
  }, selectors);
  assert.deepEqual(found.bad, []);
  assert.equal(found.body < 0.5, colorScheme === 'dark');
}
