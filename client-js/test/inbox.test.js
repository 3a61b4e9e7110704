// The inbox by itself: whatever a mailbox sends, over however many connections, each message comes once, in order, and
// what is missing is said once.

import assert from 'node:assert/strict';
import test from 'node:test';
import { createInbox } from '../src/inbox.js';
import { Mailbox } from './support/model.js';
import { chance } from './support/world.js';

const EPOCHS = ['aaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbb', 'cccccccccccccccc', 'dddddddddddddddd'];

test('random deliveries, repeats, cuts, gaps and epochs', () => {
  const totals = { handled: 0, repeats: 0, gaps: 0, epochs: 0 };
  for (let seed = 1; seed <= 500; seed++) {
    const random = chance(seed);
    const inbox = createInbox();
    /** @type {string[]} */
    const handled = [];
    /** @type {any[]} */
    const gaps = [];
    let mailbox = new Mailbox(EPOCHS[0]);
    /** @type {Mailbox[]} */
    const mailboxes = [mailbox];
    /** @type {string | undefined} where the present connection's stream is */
    let position;
    for (let step = 0; step < 200; step++) {
      const chosen = random();
      if (chosen < 0.3) {
        mailbox.messages.set(++mailbox.seq, { seq: mailbox.seq, id: `${mailbox.epoch}.${mailbox.seq}` });
      } else if (chosen < 0.35 && mailbox.messages.size) {
        mailbox.remove([...mailbox.messages.keys()][0], 'expired');
      } else if (chosen < 0.36 && mailboxes.length < EPOCHS.length) {
        mailboxes.push((mailbox = new Mailbox(EPOCHS[mailboxes.length])));
        position = undefined;
      } else if (chosen < 0.45) {
        position = undefined;
      } else if (chosen < 0.7) {
        if (position === undefined) {
          position = inbox.cursor ?? mailbox.at(mailbox.acked);
          if (position.startsWith(mailbox.epoch)) mailbox.acknowledge(position);
          inbox.welcome(position);
        }
        const batch = mailbox.batch(position);
        const before = inbox.waiting;
        if (batch.messages.length || batch.gap) inbox.take(batch);
        if (inbox.waiting === before) totals.repeats++;
        position = batch.cursor;
      } else if (chosen < 0.72) {
        inbox.drop();
        position = undefined;
      } else {
        const item = inbox.next();
        if (item?.gap) gaps.push({ ...item.gap, epoch: item.epoch });
        if (item?.message) handled.push(item.message.id);
        if (item) inbox.finish();
      }
    }
    // Everything that is still there arrives.
    for (position = inbox.cursor ?? mailbox.at(mailbox.acked); ; ) {
      const batch = mailbox.batch(position);
      inbox.take(batch);
      for (let item; (item = inbox.next()); inbox.finish()) {
        if (item.gap) gaps.push({ ...item.gap, epoch: item.epoch });
        if (item.message) handled.push(item.message.id);
      }
      if (!batch.more) break;
      position = batch.cursor;
    }
    assert.equal(new Set(handled).size, handled.length, `seed ${seed}: twice`);
    for (const { epoch, seq } of mailboxes) {
      const seqs = handled.filter((id) => id.startsWith(epoch)).map((id) => Number(id.split('.')[1]));
      assert.deepEqual(seqs, [...seqs].sort((one, other) => one - other), `seed ${seed}: order`);
      if (epoch !== mailbox.epoch) continue;
      for (let number = 1; number <= seq; number++) {
        const explained = gaps.some((gap) => gap.epoch === epoch && gap.from !== null && gap.from <= number && number <= gap.to);
        // A first contact, and a new epoch, begin at what is acknowledged.
        assert(seqs.includes(number) !== explained, `seed ${seed}: ${epoch}.${number} is ${explained ? 'both' : 'neither'} handled and missing`);
      }
    }
    const epochs = gaps.filter(({ reason }) => reason === 'epoch');
    assert.equal(new Set(epochs.map(({ epoch }) => epoch)).size, epochs.length, `seed ${seed}: an epoch is told twice`);
    assert(gaps.every(({ reason }) => reason !== 'unknown'));
    assert.equal(inbox.cursor, mailbox.at(mailbox.seq));
    totals.handled += handled.length;
    totals.gaps += gaps.length - epochs.length;
    totals.epochs += epochs.length;
  }
  console.log(JSON.stringify(totals));
  assert(totals.handled > 15_000 && totals.repeats > 1000 && totals.gaps > 300 && totals.epochs > 300);
});

test('a hole that the relay does not explain is not passed over in silence', () => {
  const inbox = createInbox('aaaaaaaaaaaaaaaa.4');
  const message = (/** @type {number} */ seq) => /** @type {any} */ ({ seq });
  inbox.take({ messages: [message(5), message(8)], cursor: 'aaaaaaaaaaaaaaaa.8' });
  const items = [];
  for (let item; (item = inbox.next()); inbox.finish()) items.push(item.message?.seq ?? item.gap);
  assert.deepEqual(items, [5, { from: 6, to: 7, reason: 'unknown' }, 8]);
});

test('what is in hand when another client takes over is not given again, what waits behind it is', () => {
  const inbox = createInbox('aaaaaaaaaaaaaaaa.0');
  const messages = /** @type {any[]} */ ([{ seq: 1 }, { seq: 2 }, { seq: 3 }]);
  inbox.take({ messages, cursor: 'aaaaaaaaaaaaaaaa.3' });
  assert.equal(inbox.next()?.seq, 1);
  inbox.drop();
  assert.equal(inbox.waiting, 1);
  inbox.take({ messages, cursor: 'aaaaaaaaaaaaaaaa.3' });
  inbox.finish();
  assert.equal(inbox.cursor, 'aaaaaaaaaaaaaaaa.1');
  assert.deepEqual([inbox.next()?.seq, inbox.waiting], [2, 2]);
});
