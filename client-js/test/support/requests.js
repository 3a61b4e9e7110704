// The relay's model over HTTP: `fetch` as a client of a network has it.

/** @param {import('./network.js').Network} network @param {() => boolean} isAlive @returns {typeof fetch} */
export function fetchOver(network, isAlive) {
  return /** @type {any} */ (
    (/** @type {string} */ address, /** @type {any} */ init) =>
      new Promise((resolve, reject) => {
        const url = new URL(address);
        const body = init.body === undefined ? undefined : JSON.parse(init.body);
        /** @param {(value: any) => void} tell */
        const ifAlive = (tell) => (/** @type {any} */ value) => isAlive() && tell(value);
        new Exchange(network, url, init, body, ifAlive(resolve), ifAlive(reject)).start();
      })
  );
}

/** One request and its answer. */
class Exchange {
  /** @param {import('./network.js').Network} network @param {URL} url @param {any} init @param {any} body @param {any} resolve @param {any} reject */
  constructor(network, url, init, body, resolve, reject) {
    Object.assign(this, { network, init, body, resolve, reject });
    this.network = network;
    this.init = init;
    this.path = `${init.method} ${url.pathname}`;
    this.query = Object.fromEntries(url.searchParams);
    this.session = this.query.session ?? body?.session;
    this.body = body;
    this.lane = network.lane();
    this.over = false;
    /** @type {any} a reader of the body that waits */
    this.waiting = undefined;
    /** @type {Uint8Array[]} */
    this.chunks = [];
    this.resolve = resolve;
    this.reject = reject;
  }

  start() {
    const { network, init, path } = this;
    network.note(path, this.session);
    init.signal?.addEventListener('abort', this.abort, { once: true });
    if (network.state === 'hole') return;
    if (network.state === 'down' || (path.endsWith('/v1/events') && network.streams === 'refuse')) {
      return void network.world.setTimeout(() => this.fail(new TypeError('fetch failed')), 5);
    }
    network.connections.add(this);
    network.cross(this.lane, () => !this.over && this.serve());
  }

  abort = () => this.fail(new DOMException('aborted', 'AbortError'));

  /** The client's side learns that there is no answer, or no more of it. @param {Error} error */
  fail(error) {
    this.left();
    this.reject(error);
    this.waiting?.reject(error);
    this.broken = error;
  }

  /** Nothing more is done for it at the relay. */
  left() {
    this.over = true;
    this.network.connections.delete(this);
    this.network.model.detach(this.session, this);
  }

  cut() {
    this.left();
    if (this.network.state !== 'hole') this.network.world.setTimeout(() => this.fail(new TypeError('terminated')), 2);
  }

  /** @param {number} status @param {any} said @param {Record<string, string>} [headers] */
  answer(status, said, headers = {}) {
    const { network } = this;
    this.left();
    network.connections.add(this);
    const text = JSON.stringify(said);
    network.cross(this.lane, () => {
      network.connections.delete(this);
      this.init.signal?.removeEventListener('abort', this.abort);
      if (this.broken) return;
      this.resolve({
        ok: status < 300, status, headers: { get: (/** @type {string} */ name) => headers[name] ?? null },
        json: async () => JSON.parse(text),
      });
    });
  }

  serve() {
    const { network, path, body } = this;
    const token = this.init.headers.Authorization?.replace('Bearer ', '');
    if (network.tokens && !network.tokens.has(token)) return this.answer(401, { status: 401, detail: 'expired' });
    try {
      if (path === 'POST /v1/tickets') {
        const ticket = `ticket-${network.world.random()}`;
        network.tickets.add(ticket);
        return this.answer(200, { ticket });
      }
      if (path === 'POST /v1/messages') return this.send();
      if (path === 'POST /v1/ack') {
        return this.answer(200, { acked: network.model.mailbox(this.session).acknowledge(body.cursor) });
      }
      if (path === 'GET /v1/messages') return this.poll();
      if (path === 'POST /v1/events') return this.stream();
      this.answer(404, { status: 404, detail: 'nothing lives here' });
    } catch (error) {
      const { status, kind, message } = /** @type {any} */ (error);
      if (!status) throw error;
      this.answer(status, { status, kind, detail: message });
    }
  }

  send() {
    const { network, body } = this;
    const problem = network.refuse?.();
    if (problem) {
      const { retryAfter, ...said } = problem;
      return this.answer(said.status, said, retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) });
    }
    const answer = network.model.send(body);
    if (network.lostAnswers > 0) {
      network.lostAnswers--;
      this.cut();
    } else this.answer(201, answer);
  }

  poll() {
    const { network, session, query } = this;
    const mailbox = network.model.mailbox(session);
    if (query.after) mailbox.acknowledge(query.after);
    network.model.attach(session, this);
    this.wake = () => {
      const batch = network.model.mailbox(session).batch(query.after);
      if (batch.messages.length || batch.gap) this.answer(200, batch);
    };
    const empty = () => ({ messages: [], cursor: query.after ?? mailbox.at(mailbox.acked), more: false });
    this.supersede = () => this.answer(200, { ...empty(), superseded: true });
    this.drain = (/** @type {number} */ retry_after) => this.answer(200, { ...empty(), retry_after });
    this.wake();
    if (!this.over) network.world.setTimeout(() => !this.over && this.answer(200, empty()), Number(query.wait) * 1000);
  }

  stream() {
    const { network, session, body } = this;
    const mailbox = network.model.mailbox(session);
    if (body.after) mailbox.acknowledge(body.after);
    let position = body.after ?? mailbox.at(mailbox.acked);
    network.model.attach(session, this);
    this.wake = () => {
      for (;;) {
        const batch = network.model.mailbox(session).batch(position);
        if (!batch.messages.length && !batch.gap) return;
        const { epoch } = network.model.mailbox(session);
        const behind = batch.messages.length ? `${epoch}.${batch.messages[0].seq - 1}` : batch.cursor;
        if (batch.gap) this.write(`id: ${behind}\nevent: relay:gap\ndata: ${JSON.stringify(batch.gap)}\n\n`);
        for (const message of batch.messages) {
          this.write(`id: ${epoch}.${message.seq}\nevent: ${message.type}\ndata: ${JSON.stringify(message)}\n\n`);
        }
        position = batch.cursor;
      }
    };
    this.supersede = () => this.goodbye('superseded');
    this.drain = (/** @type {number} */ retry_after) => this.goodbye('drain', retry_after);
    if (network.streams === 'buffer') return;
    const reader = { read: () => this.read() };
    network.cross(this.lane, () => {
      if (!this.broken) this.resolve({ ok: true, status: 200, headers: { get: () => 'text/event-stream' }, body: { getReader: () => reader } });
    });
    const data = JSON.stringify({ session, cursor: position });
    this.write(`retry: 1000\n\nid: ${position}\nevent: relay:welcome\ndata: ${data}\n\n`);
    this.wake();
    const comment = () => {
      if (this.over) return;
      this.write(':\n\n');
      network.world.setTimeout(comment, 15_000);
    };
    network.world.setTimeout(comment, 15_000);
  }

  /** @param {string} reason @param {number} [retry_after] */
  goodbye(reason, retry_after) {
    if (this.over) return;
    this.write(`event: relay:goodbye\ndata: ${JSON.stringify({ reason, retry_after })}\n\n`);
    this.left();
    this.network.cross(this.lane, () => this.give(undefined));
  }

  /** Bytes arrive in pieces of any size. @param {string} text */
  write(text) {
    if (this.network.streams === 'buffer') return;
    const bytes = new TextEncoder().encode(text);
    const half = Math.floor(this.network.world.random() * bytes.length);
    for (const piece of [bytes.subarray(0, half), bytes.subarray(half)]) {
      if (piece.length) this.network.cross(this.lane, () => this.give(piece));
    }
  }

  /** @param {Uint8Array | undefined} piece */
  give(piece) {
    if (this.broken) return;
    this.chunks.push(/** @type {any} */ (piece));
    this.waiting?.resolve(this.next());
    this.waiting = undefined;
  }

  next() {
    const value = this.chunks.shift();
    return { value, done: value === undefined };
  }

  read() {
    if (this.broken) return Promise.reject(this.broken);
    if (this.chunks.length) return Promise.resolve(this.next());
    return new Promise((resolve, reject) => (this.waiting = { resolve, reject }));
  }
}

