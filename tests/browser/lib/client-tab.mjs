// A tab with client-js in it (page/client.html).

import assert from 'node:assert/strict';
import { Watched } from './watched.mjs';

/** Opens such a page and starts its client; `nextToken` gives tokens to one that asks. */
export async function openClient(browser, context, relay, options, nextToken) {
  const tab = new ClientTab(await context.newPage(), `${browser.origin}/page/client.html`);
  if (nextToken) await tab.page.exposeFunction('nextToken', nextToken);
  await tab.start(relay, options);
  return tab;
}

/** What it tells is kept over reloads, page by page. */
class ClientTab extends Watched {
  /** The numbers that listeners were given, one list for each page. */
  pages = [];
  gaps = [];
  /** The client's states. */
  states = [];
  errors = [];
  /** What was not caught, and what the client wrote to the console. */
  complaints = [];

  constructor(page, url) {
    super();
    this.page = page;
    this.url = url;
  }

  async start(relay, options) {
    this.arguments = [relay, options];
    await this.page.exposeBinding('report', (_, { kind, what }) => this.#note(kind, JSON.parse(what)));
    this.page.on('pageerror', (error) => this.complaints.push(`uncaught: ${error.stack}`));
    // What the browser itself says of connections that fail has the address of what failed.
    this.page.on('console', (message) => {
      const own = /client(-js\/dist\/x0-relay\.min)?\.js/.test(message.location().url) && !/WebSocket/.test(message.text());
      if (message.type() === 'error' && own) this.complaints.push(message.text());
    });
    await this.page.goto(this.url);
    await this.#begin();
  }

  async #begin() {
    this.pages.push([]);
    await this.page.waitForFunction(() => 'start' in window);
    await this.page.evaluate(([url, options]) => window.start(url, options), this.arguments);
  }

  /** A new page in this tab: what the one before knew is lost, but for its storage. */
  async reload() {
    await this.page.reload();
    await this.#begin();
  }

  #note(kind, what) {
    ({ message: this.pages.at(-1), gap: this.gaps, state: this.states, error: this.errors })[kind].push(what);
    this.look();
  }

  /** `websocket`, `sse`, `poll`, or the state's name. */
  get state() {
    const { name, transport } = this.states.at(-1) ?? {};
    return transport ?? name;
  }
  /** All numbers, in the order in which they came. */
  get numbers() {
    return this.pages.flat();
  }

  is(state, deadline) {
    return this.until(state, (tab) => tab.state === state, deadline);
  }
  has(count, deadline) {
    return this.until(`${count} messages`, (tab) => tab.numbers.length >= count, deadline);
  }

  /** Sends numbers from this page; resolves when all are accepted. */
  async send(to, first, last) {
    const results = await this.page.evaluate((given) => window.sendNumbers(...given), [to, first, last]);
    assert.deepEqual(results, Array(last - first + 1).fill('fulfilled'));
  }

  assertClean() {
    assert.deepEqual([this.complaints, this.errors], [[], []]);
    for (const numbers of this.pages) assert.equal(new Set(numbers).size, numbers.length, `twice in one page: ${numbers}`);
  }

  toString() {
    const states = this.states.slice(-6).map(({ name, transport }) => transport ?? name);
    return `${this.numbers.length} messages, states ${states}, gaps ${JSON.stringify(this.gaps)}, errors ${JSON.stringify(this.errors)}, ${this.complaints}`;
  }
}

/** Everything that waits for a session, over HTTP, until there are `count`. */
export async function collect(base, session, count) {
  const got = [];
  let after = '';
  while (got.length < count) {
    const answer = await fetch(`${base}/v1/messages?session=${session}&wait=30${after && `&after=${after}`}`);
    const { messages, cursor } = await answer.json();
    assert.ok(messages.length, `nothing for 30 s; there are ${got}`);
    got.push(...messages.map(({ payload }) => payload));
    after = cursor;
  }
  return got;
}
