// A tab with x0's stand-in (client-js/x0/tests/page) and the drop-in, and a sender that does not give up.

import { Watched } from './watched.mjs';

/** Opens such a page (index.html: the file exchanged; beside.html: added to x0's own) and starts it. */
export async function openX0(browser, context, { relay, session, file = 'index.html' }) {
  const tab = new X0Tab(await context.newPage());
  await tab.start(`${browser.origin}/client-js/x0/tests/page/${file}`, relay, session);
  return tab;
}

class X0Tab extends Watched {
  /** What messages did to the page, in order. */
  shown = [];
  /** The drop-in's states, in order. */
  states = [];
  /** What stands in the console as an error, and what was not caught. */
  complaints = [];
  /** The paths of the requests that the page made. */
  requests = [];

  constructor(page) {
    super();
    this.page = page;
  }

  async start(url, relay, session) {
    await this.page.exposeBinding('report', (_, event) => this.#note(event));
    this.page.on('console', (message) => message.type() === 'error' && this.complaints.push(message.text()));
    this.page.on('pageerror', (error) => this.complaints.push(`uncaught: ${error.stack}`));
    await this.page.addInitScript(() => {
      window.addEventListener('x0-relay-state', ({ detail }) => window.report({ kind: 'state', what: JSON.stringify(detail) }));
    });
    await this.page.goto(url);
    this.page.on('request', (request) => {
      this.requests.push(new URL(request.url()).pathname);
      this.look();
    });
    await this.page.evaluate(([to, as]) => x0Page.start(to, as), [relay, session]);
  }

  #note({ kind, what }) {
    ({ shown: this.shown, state: this.states })[kind].push(JSON.parse(what));
    this.look();
  }

  get state() {
    return this.states.at(-1);
  }
  /** The numbers `n` of the payloads shown. */
  get numbers() {
    return this.shown.map(({ payload }) => payload.n);
  }

  is(state, deadline) {
    return this.until(state, (tab) => tab.state === state, deadline);
  }
  has(count, deadline) {
    return this.until(`${count} shown`, (tab) => tab.shown.length >= count, deadline);
  }

  /** Sends as x0's request layer does; `how` is `send` (a message) or `exchange` (the button's form). */
  say(how, destination, payload) {
    const call = ([name, to, what]) => new Promise((resolve) => x0Page[name](to, what, (status, answer) => resolve({ status, answer })));
    return this.page.evaluate(call, [how, destination, payload]);
  }

  toString() {
    return `${this.shown.length} shown, states ${this.states}, complaints ${JSON.stringify(this.complaints.slice(-5))}`;
  }
}

const netMessage = (n) => ({ 'msg-type': 'net-message', 'method-id': 'set-data', 'dst-object': 'Text1', payload: { n } });

/** Sends `first` to `last` to a session as what `payload` makes of them, one after the other, each until it is accepted. */
export async function sendNumbers(base, session, first, last, payload = netMessage, headers = {}) {
  for (let n = first; n <= last; n += 1) {
    const body = JSON.stringify({ to: `session:${session}`, from: 'sender', payload: payload(n), key: `${session}-${n}` });
    for (let tries = 1; ; tries += 1) {
      try {
        const { status } = await fetch(`${base}/v1/messages`, { method: 'POST', body, headers, signal: AbortSignal.timeout(5000) });
        if (status === 201) break;
        if (tries === 100) throw new Error(`status ${status}`);
      } catch (error) {
        if (tries >= 100) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** 1 to `last`. */
export const upTo = (last) => Array.from({ length: last }, (_, at) => at + 1);
