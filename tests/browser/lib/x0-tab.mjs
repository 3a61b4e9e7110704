// A tab with x0's stand-in (client-js/x0/tests/page) and the drop-in, and a sender that does not give up.

/** Opens such a page (index.html: the file exchanged; beside.html: added to x0's own) and starts it. */
export async function openX0(browser, context, { relay, session, file = 'index.html' }) {
  const tab = new X0Tab(await context.newPage());
  await tab.start(`${browser.origin}/client-js/x0/tests/page/${file}`, relay, session);
  return tab;
}

class X0Tab {
  /** What messages did to the page, in order. */
  shown = [];
  /** The drop-in's states, in order. */
  states = [];
  /** What stands in the console as an error, and what was not caught. */
  complaints = [];
  /** The paths of the requests that the page made. */
  requests = [];
  #waiting = new Set();

  constructor(page) {
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
      this.#look();
    });
    await this.page.evaluate(([to, as]) => x0Page.start(to, as), [relay, session]);
  }

  #note({ kind, what }) {
    ({ shown: this.shown, state: this.states })[kind].push(JSON.parse(what));
    this.#look();
  }
  #look() {
    for (const check of this.#waiting) check();
  }

  get state() {
    return this.states.at(-1);
  }
  /** The numbers `n` of the payloads shown. */
  get numbers() {
    return this.shown.map(({ payload }) => payload.n);
  }

  /** Resolves as soon as `condition(this)` holds, looking again at every report and request. */
  until(what, condition, deadline = 30_000) {
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        settle(value);
      };
      const check = () => condition(this) && end(resolve);
      const timer = setTimeout(() => end(reject, new Error(`not within ${deadline} ms: ${what}; the tab: ${this}`)), deadline);
      this.#waiting.add(check);
      check();
    });
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

/** Sends `{n: first}` to `{n: last}` to a session as net-messages for Text1, one after the other, each until it is accepted. */
export async function sendNumbers(base, session, first, last) {
  for (let n = first; n <= last; n += 1) {
    const payload = { 'msg-type': 'net-message', 'method-id': 'set-data', 'dst-object': 'Text1', payload: { n } };
    const body = JSON.stringify({ to: `session:${session}`, from: 'sender', payload, key: `${session}-${n}` });
    for (let tries = 1; ; tries += 1) {
      try {
        const { status } = await fetch(`${base}/v1/messages`, { method: 'POST', body, signal: AbortSignal.timeout(5000) });
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
