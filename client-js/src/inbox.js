// What has come and is not yet handled: in order, nothing twice, gaps in their places. Pure: batches in, items out.
//
// The relay calls cursors opaque, and other clients need no more of them. Here they are read, for two things that make
// less come twice: each message of a batch is acknowledged by itself, and an epoch that has begun before is known again.

/**
 * @typedef {import('./x0-relay.d.ts').Message} Message
 * @typedef {import('./x0-relay.d.ts').Gap} Gap
 * @typedef {{ epoch: string, seq: number }} Place
 * @typedef {Place & { message?: Message, gap?: Gap }} Item
 */

/** @param {string} cursor @returns {Place} */
const read = (cursor) => {
  const [epoch, seq] = cursor.split('.');
  return { epoch, seq: +seq };
};

/** @type {Place} */
const NOWHERE = { epoch: '', seq: -1 };

/** @param {string} [after] everything up to this cursor is handled */
export function createInbox(after) {
  /** The last item that was handled, the one in hand, and the last that has come: no repeat is behind that. */
  let handled = after ? read(after) : NOWHERE;
  /** @type {Item | undefined} */
  let hand;
  let received = handled;
  /** @type {Item[]} */
  let items = [];

  /** @param {number} seq @param {{ message?: Message, gap?: Gap }} what */
  const push = (seq, what) => {
    received = { epoch: received.epoch, seq };
    items.push({ ...received, ...what });
  };

  return {
    /** How many items are not handled. */
    get waiting() {
      return items.length + (hand ? 1 : 0);
    },
    /** Where to come back to: everything up to here is handled. */
    get cursor() {
      return handled.epoch ? `${handled.epoch}.${handled.seq}` : undefined;
    },
    /** The stream begins here. @param {string} cursor */
    welcome(cursor) {
      if (!received.epoch) handled = received = read(cursor);
    },
    /** @param {{ messages?: Message[], gap?: Gap, cursor: string }} batch */
    take({ messages = [], gap, cursor }) {
      const end = read(cursor);
      const anew = end.epoch !== received.epoch;
      if (anew) received = { epoch: end.epoch, seq: -1 };
      const last = received.seq;
      if (gap?.to == null) {
        // Until it moves, a cursor gets the same gap: the beginning of an epoch is told once.
        if (gap && anew) push((messages[0]?.seq ?? end.seq + 1) - 1, { gap });
      } else if (gap.to > last) push(gap.to, { gap: { ...gap, from: Math.max(/** @type {number} */ (gap.from), last + 1) } });
      for (const message of messages) {
        const { seq } = message;
        const from = received.seq + 1;
        // The relay explains every hole. One that it did not explain is not passed over in silence either.
        if (from > 0 && seq > from) push(seq - 1, { gap: { from, to: seq - 1, reason: 'unknown' } });
        if (seq >= from) push(seq, { message });
      }
      // Without anything to handle, all is handled.
      if (!hand && !items.length && (anew || end.seq > handled.seq)) handled = received = end;
    },
    /** The next item to be handled. */
    next() {
      return (hand = items.shift());
    },
    /** It is handled. */
    finish() {
      if (hand) handled = hand;
      hand = undefined;
    },
    /** What is not yet in hand will be delivered again, to whoever is the receiver then. */
    drop() {
      items = [];
      received = hand ?? handled;
    },
    /** The relay has not handed out this cursor: begin where it says, at what it knows to be acknowledged. */
    forget() {
      handled = received = NOWHERE;
    },
  };
}
