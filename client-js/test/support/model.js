// What the relay does, written from docs/protocol-v1.md and as simply as possible: mailboxes with cursors and gaps, one
// receiver a session, keys against doubles. It knows no transport and no time but what it is told.

const LIMIT = 7;

/** @param {string | undefined} cursor */
const read = (cursor) => {
  if (cursor === undefined) return undefined;
  const [, epoch, seq] = /^([0-9a-f]{16})\.(\d+)$/.exec(cursor) ?? [];
  if (!epoch) throw Object.assign(new Error('no cursor'), { status: 400, kind: 'invalid_cursor' });
  return { epoch, seq: Number(seq) };
};

export class Mailbox {
  /** @param {string} epoch */
  constructor(epoch) {
    this.epoch = epoch;
    this.seq = 0;
    this.acked = 0;
    /** @type {Map<number, any>} */
    this.messages = new Map();
    /** Why those are gone that are gone. @type {Map<number, string>} */
    this.gone = new Map();
  }

  /** @param {number} seq */
  at(seq) {
    return `${this.epoch}.${seq}`;
  }

  /** @param {string} after @returns {number} */
  acknowledge(after) {
    const cursor = read(after);
    if (cursor?.epoch !== this.epoch) return 0;
    if (cursor.seq > this.seq) throw Object.assign(new Error('ahead'), { status: 400, kind: 'invalid_cursor' });
    let count = 0;
    for (; this.acked < cursor.seq; this.acked++) if (this.remove(this.acked + 1, 'taken')) count++;
    return count;
  }

  /** @param {number} seq @param {string} reason */
  remove(seq, reason) {
    if (!this.messages.delete(seq)) return false;
    this.gone.set(seq, reason);
    return true;
  }

  /** What comes after a cursor: at most one gap, then messages without a hole. @param {string} [after] */
  batch(after) {
    const cursor = read(after);
    const known = !cursor || cursor.epoch === this.epoch;
    let position = known && cursor ? cursor.seq : this.acked;
    let gap = known ? undefined : { from: null, to: null, reason: 'epoch' };
    const messages = [];
    for (let seq = position + 1; seq <= this.seq && messages.length < LIMIT; seq++) {
      const message = this.messages.get(seq);
      if (message) messages.push(message);
      else {
        if (gap || messages.length) break;
        const reason = this.gone.get(seq);
        const from = seq;
        while (this.gone.get(seq + 1) === reason) seq++;
        gap = { from, to: seq, reason };
      }
      position = seq;
    }
    return { ...(gap && { gap }), messages, cursor: this.at(position), more: position < this.seq };
  }
}

export class Model {
  /** @param {() => number} random @param {() => number} now */
  constructor(random, now) {
    this.random = random;
    this.now = now;
    /** @type {Map<string, Mailbox>} */
    this.mailboxes = new Map();
    /** @type {Map<string, { wake: () => void, supersede: () => void }>} */
    this.receivers = new Map();
    /** @type {Map<string, { body: string, answer: any }>} */
    this.keys = new Map();
    /** Everything that was ever accepted, in order. @type {{ session: string, epoch: string, message: any }[]} */
    this.log = [];
    this.ids = 0;
  }

  /** @param {string} session */
  mailbox(session) {
    let mailbox = this.mailboxes.get(session);
    if (!mailbox) {
      const epoch = Array.from({ length: 16 }, () => Math.floor(this.random() * 16).toString(16)).join('');
      this.mailboxes.set(session, (mailbox = new Mailbox(epoch)));
    }
    return mailbox;
  }

  /** @param {any} draft as in `POST /v1/messages` */
  send({ to, payload, from = '', type = 'message', key }) {
    const sessions = [to].flat().map((address) => address.replace(/^session:/, ''));
    const name = JSON.stringify([from, [...sessions].sort(), key]);
    const body = JSON.stringify([payload, type]);
    const known = key && this.keys.get(name);
    if (known && known.body !== body) throw Object.assign(new Error('key reused'), { status: 409, kind: 'key_reused' });
    if (known) return { ...known.answer, duplicate: true };
    const id = `id-${++this.ids}`;
    for (const session of sessions) {
      const mailbox = this.mailbox(session);
      const message = { id, seq: ++mailbox.seq, from, type, ts: this.now(), payload };
      mailbox.messages.set(message.seq, message);
      this.log.push({ session, epoch: mailbox.epoch, message });
      this.receivers.get(session)?.wake();
    }
    const answer = { id, recipients: sessions.length };
    if (key) this.keys.set(name, { body, answer });
    return { ...answer, duplicate: false };
  }

  /** The newest receiver wins. @param {string} session @param {{ wake: () => void, supersede: () => void }} receiver */
  attach(session, receiver) {
    const old = this.receivers.get(session);
    this.receivers.set(session, receiver);
    old?.supersede();
  }

  /** @param {string} session @param {{ wake: () => void, supersede: () => void }} receiver */
  detach(session, receiver) {
    if (this.receivers.get(session) === receiver) this.receivers.delete(session);
  }

  /** Without a data directory: nothing is left. */
  forgetEverything() {
    this.mailboxes.clear();
    this.keys.clear();
    this.receivers.clear();
  }
}
