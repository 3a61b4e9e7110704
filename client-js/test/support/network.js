// What lies between a client and the model of the relay: WebSockets and requests with latency, cuts, black holes, proxies
// that refuse WebSockets and proxies that hold back streams. One network for each client.

export class Network {
  /** @param {import('./world.js').World} world @param {import('./model.js').Model} model */
  constructor(world, model) {
    this.world = world;
    this.model = model;
    /** Milliseconds, least and most. */
    this.latency = [1, 40];
    /** @type {'pass' | 'refuse' | 'swallow'} what becomes of WebSocket handshakes */
    this.websockets = 'pass';
    /** @type {'pass' | 'refuse' | 'buffer'} what becomes of event streams */
    this.streams = 'pass';
    /** @type {'up' | 'down' | 'hole'} hole: nothing arrives, and nobody is told */
    this.state = 'up';
    /** How many of the answers to sends are lost on the way back. */
    this.lostAnswers = 0;
    /** What a send is answered with instead. @type {(() => any) | undefined} */
    this.refuse = undefined;
    /** Which tokens the relay takes; any if there are none. @type {Set<string> | undefined} */
    this.tokens = undefined;
    this.tickets = new Set();
    /** Counts the times that everything was swallowed. */
    this.generation = 0;
    /** @type {Set<{ cut: () => void, left: () => void }>} */
    this.connections = new Set();
    /** What was asked, for tests that count. @type {{ at: number, what: string, session?: string }[]} */
    this.asked = [];
  }

  /** One direction of a connection: what goes through it stays in order. */
  lane() {
    return { free: 0, born: this.generation };
  }

  /** From now on nothing that is there answers any more, and nobody is told: the laptop left the network. */
  swallow() {
    this.generation++;
    for (const connection of [...this.connections]) connection.left();
  }

  /** Does something when it has crossed the network. @param {ReturnType<Network['lane']>} lane @param {() => void} run */
  cross(lane, run) {
    const { world } = this;
    const at = Math.max(lane.free, world.now + world.between(this.latency[0], this.latency[1]));
    lane.free = at;
    world.setTimeout(() => this.state !== 'hole' && lane.born === this.generation && run(), at - world.now);
  }

  /** Ends every connection, as a proxy or a relay that ends does. */
  cut() {
    for (const connection of [...this.connections]) connection.cut();
  }

  /** @param {string} what @param {string | null} [session] */
  note(what, session) {
    this.asked.push({ at: this.world.now, what, session: session ?? undefined });
  }

  /** The class `WebSocket` of a page. @param {() => boolean} isAlive */
  websocketFor(isAlive) {
    const network = this;
    return class {
      /** @param {string} url */
      constructor(url) {
        this.readyState = 0;
        this.isAlive = isAlive;
        Socket.open(network, this, new URL(url));
      }
      onmessage = (/** @type {{ data: string }} */ _) => {};
      onclose = (/** @type {{ code: number, reason: string }} */ _) => {};
      onerror = (/** @type {{ type: string }} */ _) => {};
      /** @type {Socket | undefined} */
      peer = undefined;
      /** @param {string} data */
      send(data) {
        if (this.readyState === 0) throw new Error('the WebSocket is not open');
        if (this.readyState === 1) this.peer?.hear(data);
      }
      close() {
        if (this.readyState >= 2) return;
        this.readyState = 3;
        this.peer?.left();
        network.world.setTimeout(() => this.onclose({ code: 1005, reason: '' }));
      }
    };
  }
}

/** The relay's side of a WebSocket. */
class Socket {
  /** @param {Network} network @param {any} client @param {URL} url */
  static open(network, client, url) {
    const session = url.searchParams.get('session') ?? '';
    network.note('websocket', session);
    const { world } = network;
    const fail = () => {
      if (client.readyState === 3 || !client.isAlive()) return;
      client.readyState = 3;
      client.onerror({ type: 'error' });
      client.onclose({ code: 1006, reason: '' });
    };
    if (network.websockets === 'swallow' || network.state === 'hole') return;
    if (network.websockets === 'refuse' || network.state === 'down') return void world.setTimeout(fail, 5);
    const ticket = url.searchParams.get('ticket');
    if (network.tokens && !network.tickets.delete(ticket)) return void world.setTimeout(fail, 5);
    const lane = network.lane();
    network.cross(lane, () => {
      if (client.readyState === 3 || !client.isAlive()) return;
      try {
        client.peer = new Socket(network, client, session, url.searchParams.get('after') ?? undefined);
      } catch {
        fail();
      }
    });
  }

  /** @param {Network} network @param {any} client @param {string} session @param {string | undefined} after */
  constructor(network, client, session, after) {
    this.network = network;
    this.client = client;
    this.session = session;
    this.down = network.lane();
    this.up = network.lane();
    this.over = false;
    const mailbox = network.model.mailbox(session);
    if (after) mailbox.acknowledge(after);
    this.position = after ?? mailbox.at(mailbox.acked);
    network.connections.add(this);
    network.model.attach(session, this);
    // The handshake's answer.
    network.cross(this.down, () => (client.readyState = 1));
    this.say({ type: 'welcome', session, cursor: this.position, window: 256 });
    this.wake();
  }

  /** @param {object} frame */
  say(frame) {
    const { client, network } = this;
    network.cross(this.down, () => client.readyState === 1 && client.isAlive() && !this.gone && client.onmessage({ data: JSON.stringify(frame) }));
  }

  wake() {
    if (this.over) return;
    for (;;) {
      const batch = this.network.model.mailbox(this.session).batch(this.position);
      if (!batch.messages.length && !batch.gap) return;
      this.position = batch.cursor;
      this.say({ type: 'messages', ...batch });
    }
  }

  /** @param {string} data */
  hear(data) {
    this.network.cross(this.up, () => {
      if (this.over) return;
      const frame = JSON.parse(data);
      const { model, refuse } = this.network;
      if (frame.type === 'ping') this.say({ type: 'pong' });
      else if (frame.type === 'ack') model.mailbox(this.session).acknowledge(frame.cursor);
      else if (frame.type === 'auth') {
        this.network.note(`auth ${frame.token}`, this.session);
        this.say({ type: 'authenticated', expires: 0 });
      } else {
        const { ref, message_type: type, ...draft } = frame;
        const problem = refuse?.();
        if (problem) return this.say({ type: 'error', ref, ...problem });
        const answer = model.send({ ...draft, type });
        if (this.network.lostAnswers > 0) {
          this.network.lostAnswers--;
          this.cut();
        } else this.say({ type: 'sent', ref, ...answer });
      }
    });
  }

  supersede() {
    this.end({ type: 'goodbye', reason: 'superseded' }, 4001);
  }

  /** @param {object} frame @param {number} code */
  end(frame, code) {
    if (this.over) return;
    this.say(frame);
    this.left();
    this.network.cross(this.down, () => this.shut(code));
  }

  /** The client has closed it. */
  left() {
    this.over = true;
    this.network.connections.delete(this);
    this.network.model.detach(this.session, this);
  }

  /** Both ends find it closed, and what was under way is lost. */
  cut() {
    this.left();
    this.gone = true;
    if (this.network.state !== 'hole') this.network.world.setTimeout(() => this.shut(1006), 2);
  }

  /** @param {number} code */
  shut(code) {
    if (this.client.readyState >= 2 || !this.client.isAlive()) return;
    this.client.readyState = 3;
    this.client.onclose({ code, reason: '' });
  }
}
