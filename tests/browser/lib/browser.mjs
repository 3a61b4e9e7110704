// Real headless Chromium, and a tab in it whose page reports what it does.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { startStatic } from './static.mjs';
import { Watched } from './watched.mjs';

const CHROMIUM = process.env.CHROMIUM || '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts Chromium and the pages' origin. */
export async function startBrowser() {
  assert.ok(existsSync(CHROMIUM), `no Chromium at ${CHROMIUM}: install it, or name another one in CHROMIUM`);
  const pages = await startStatic();
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
  return {
    origin: pages.origin,
    /** A set of tabs that share cookies and connections; closed when `t` (a test) ends. */
    async context(t, options = {}) {
      const context = await browser.newContext(options);
      t.after(() => context.close());
      return context;
    },
    /** Opens the x0-style page and starts it with `options` (page.js). */
    async tab(context, options) {
      const tab = new Tab(await context.newPage());
      await tab.start(`${pages.origin}/page/`, options);
      return tab;
    },
    async stop() {
      await browser.close();
      await pages.stop();
    },
  };
}

/** One tab. The lists grow as the page reports; `until` waits for them. */
class Tab extends Watched {
  polls = [];
  answers = [];
  messages = [];
  stops = [];

  constructor(page) {
    super();
    this.page = page;
  }

  async start(url, options) {
    await this.page.exposeBinding('report', (_, event) => this.#note(event));
    await this.page.goto(url);
    await this.page.evaluate((given) => window.start(given), options);
  }

  #note({ kind, ...event }) {
    if (kind === 'message') event.message = JSON.parse(event.message);
    ({ poll: this.polls, answer: this.answers, message: this.messages, stop: this.stops })[kind].push(event);
    this.look();
  }

  /** Resolves when the current poll has been out for 250 ms: by then the relay holds it. */
  async parked() {
    for (;;) {
      const [polls, answers] = [this.polls.length, this.answers.length];
      if (polls === answers + 1) {
        const age = Date.now() - this.polls.at(-1).at;
        if (age >= 250) return;
        await new Promise((resolve) => setTimeout(resolve, 250 - age));
      } else {
        await this.until('a poll is sent', (tab) => tab.polls.length > answers || tab.stops.length > 0);
      }
      assert.deepEqual(this.stops, [], 'the page has stopped polling');
    }
  }

  /** Sends `payload` (JSON text) to `destination`; tells the answer and when the page sent it. */
  send(destination, payload) {
    const call = async ([to, text]) => {
      const at = X0Client.now();
      return { at, ...(await window.client.send(to, text)) };
    };
    return this.page.evaluate(call, [destination, payload]);
  }

  /** The page's own word on whether it goes on polling. */
  stopped() {
    return this.page.evaluate(() => window.client.stopped);
  }

  toString() {
    const counts = ['polls', 'answers', 'messages'].map((name) => `${this[name].length} ${name}`).join(', ');
    return `${counts}, stops ${JSON.stringify(this.stops)}, last answer ${this.answers.at(-1)?.text.slice(0, 300)}`;
  }
}
