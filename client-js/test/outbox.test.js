// The outbox by itself: order for each address, one request at a time, what is tried again and what is not.

import assert from 'node:assert/strict';
import test from 'node:test';
import { createOutbox } from '../src/outbox.js';
import { chance } from './support/world.js';

const PATIENCE = 60_000;

/** @param {number} n @param {string | string[]} to @returns {any} */
const entry = (n, to) => ({ draft: { to: [to].flat(), payload: n, from: 'a', key: `key ${n}` } });
const payloads = (/** @type {any[]} */ entries) => entries.map(({ draft }) => draft.payload);
const refusal = (/** @type {number} */ status, retryAfter = 0) => /** @type {any} */ ({ status, retryAfter });

test('over a WebSocket everything goes at once, over HTTP one after the other', () => {
  const entries = [entry(1, 'x'), entry(2, 'x'), entry(3, 'y')];
  assert.deepEqual(payloads(createOutbox([...entries], PATIENCE, false).take(0, true)), [1, 2, 3]);
  const own = [entry(1, 'x'), entry(2, 'x'), entry(3, 'y')];
  const outbox = createOutbox(own, PATIENCE, false);
  assert.deepEqual(payloads(outbox.take(0, false)), [1]);
  assert.deepEqual(payloads(outbox.take(0, false)), []);
  outbox.remove(own[0]);
  assert.deepEqual(payloads(outbox.take(0, false)), [2]);
});

test('what was lost goes by HTTP, one after the other, and what comes after it to the same address waits', () => {
  const entries = [entry(1, 'x'), entry(2, ['y', 'x'])];
  const outbox = createOutbox(entries, PATIENCE, false);
  for (const one of outbox.take(0, true)) outbox.lost(one, 0);
  entries.push(entry(3, 'x'), entry(4, 'z'));
  const [one, two, three] = entries;
  assert.deepEqual(payloads(outbox.take(0, true)), [1, 4]);
  assert.deepEqual([one.via, two.via, three.via], ['post', undefined, undefined]);
  outbox.remove(one);
  assert.deepEqual(payloads(outbox.take(0, true)), [2]);
  outbox.remove(two);
  assert.deepEqual(payloads(outbox.take(0, true)), [3]);
  assert.equal(three.via, 'websocket');
});

test('a full mailbox holds up its own, anything else all', () => {
  for (const [status, others] of /** @type {const} */ ([[507, [2]], [429, []], [503, []]])) {
    const entries = [entry(1, 'x'), entry(2, 'y')];
    const outbox = createOutbox(entries, PATIENCE, false);
    outbox.take(0, false);
    assert.equal(outbox.refused(entries[0], refusal(status, 5000), 0), false);
    assert.deepEqual(payloads(outbox.take(4999, false)), others);
    if (others.length) outbox.remove(entries[1]);
    assert.equal(outbox.due(4999), 5000);
    assert.deepEqual(payloads(outbox.take(5000, false)), [1]);
  }
});

test('which refusals are final', () => {
  for (const status of [400, 401, 403, 404, 409, 413, 415]) {
    assert.equal(createOutbox([], PATIENCE, false).refused(entry(1, 'x'), refusal(status), 0), true, `${status}`);
  }
  for (const status of [401, 408, 429, 500, 502, 503, 504, 507]) {
    const outbox = createOutbox([], PATIENCE, true);
    const one = entry(1, 'x');
    assert.equal(outbox.refused(one, refusal(status), 0), false, `${status}`);
    assert.equal(outbox.refused(one, refusal(status), PATIENCE - 1), false, `${status}`);
    assert.equal(outbox.refused(one, refusal(status), PATIENCE, false), true, `${status}`);
  }
});

test('what may have arrived is stale nine minutes after it first left', () => {
  const one = entry(1, 'x');
  const outbox = createOutbox([one], PATIENCE, false);
  assert.equal(outbox.isStale(one, 1e12), false);
  outbox.take(1000, true);
  outbox.lost(one, 2000);
  outbox.take(500_000, true);
  assert.equal(outbox.isStale(one, 540_999), false);
  assert.equal(outbox.isStale(one, 541_000), true);
});

test('whatever happens, order holds for each address, and nothing is lost or sent beside itself', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = chance(seed);
    const pick = (/** @type {any[]} */ items) => items[Math.floor(random() * items.length)];
    /** @type {any[]} */
    const entries = [];
    const outbox = createOutbox(entries, PATIENCE, false);
    /** @type {any[]} what reached the relay, in its order; keys count once */
    const accepted = [];
    /** @type {any[]} */
    let riding = [];
    let now = 0;
    let socket = true;
    let count = 0;
    const arrive = (/** @type {any} */ one) => accepted.includes(one) || accepted.push(one);
    for (let step = 0; step < 300 || entries.length; step++) {
      assert(step < 5000, `seed ${seed}: ${entries.length} never go`);
      now += random() * 2000;
      if (step < 300 && random() < 0.4) entries.push(entry(++count, pick(['x', 'y', ['x', 'y']])));
      if (random() < 0.1) {
        // The WebSocket is cut: some of what rides has arrived, in its order.
        const arrived = Math.floor(random() * (riding.length + 1));
        riding.slice(0, arrived).forEach(arrive);
        for (const one of entries) if (one.via === 'websocket') outbox.lost(one, now);
        riding = [];
        socket = !socket;
      }
      const taken = outbox.take(now, socket);
      for (const one of taken) {
        assert(one.via, 'it is under way');
        if (one.via === 'websocket') riding.push(one);
      }
      assert(entries.filter(({ via }) => via === 'post').length <= 1);
      const [first] = riding;
      if (first && random() < 0.7) {
        riding.shift();
        arrive(first);
        outbox.remove(first);
      }
      const post = entries.find(({ via }) => via === 'post');
      if (post && random() < 0.7) {
        if (random() < 0.3) outbox.refused(post, refusal(pick([503, 507]), 1), now) && entries.splice(entries.indexOf(post), 1);
        else {
          arrive(post);
          if (random() < 0.3) outbox.lost(post, now);
          else outbox.remove(post);
        }
      }
    }
    for (const address of ['x', 'y']) {
      const order = accepted.filter(({ draft }) => draft.to.includes(address)).map(({ draft }) => draft.payload);
      assert.deepEqual(order, [...order].sort((one, other) => one - other), `seed ${seed}`);
    }
  }
});
