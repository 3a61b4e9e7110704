// The state machine by itself, with a clock that is a number: what must hold whatever happens, and the figures.

import assert from 'node:assert/strict';
import test from 'node:test';
import { createMachine } from '../src/machine.js';
import { chance } from './support/world.js';

const SECOND = 1000;
const ALL = /** @type {const} */ (['websocket', 'sse', 'poll']);

/** A machine with its time. @param {any} [transports] */
function machine(transports = ALL) {
  const it = createMachine([...transports], 15 * SECOND, 10 * SECOND);
  let now = 1_000_000;
  let busy = false;
  /** @type {any[]} */
  const open = [];
  /** @param {any} event */
  const handle = (event) => {
    const effects = it.handle(event, now, busy);
    for (const [what, id, transport] of /** @type {any[]} */ (effects)) {
      if (what === 'open') open.push({ id, transport, at: now });
      if (what === 'shut') open.splice(open.findIndex((link) => link.id === id), 1);
    }
    return effects;
  };
  const end = (/** @type {number} */ id, /** @type {any} */ why = {}) => {
    const place = open.findIndex((link) => link.id === id);
    if (place >= 0) open.splice(place, 1);
    return handle({ type: 'ended', id, ...why });
  };
  /** Lets time pass, with ticks when they are due. @param {number} ms */
  const pass = (ms) => {
    const end = now + ms;
    const effects = [];
    while (it.due <= end) {
      now = Math.max(now, it.due);
      effects.push(...handle({ type: 'tick' }));
    }
    now = end;
    return effects;
  };
  return {
    it, open, handle, end, pass,
    get now() { return now; },
    set busy(/** @type {boolean} */ value) { busy = value; },
    /** Brings it online over the first transport. */
    online() {
      handle({ type: 'resume' });
      handle({ type: 'welcome', id: open[0].id });
      return open[0];
    },
  };
}

/** Runs with chance in the place of `Math.random`. @param {number} seed @param {(random: () => number) => void} run */
function withChance(seed, run) {
  const { random } = Math;
  Math.random = chance(seed);
  try {
    run(chance(seed + 1));
  } finally {
    Math.random = random;
  }
}

test('a blocked transport is followed by the next at once, and all of them by a pause', () => {
  const { it, open, handle, end } = machine();
  handle({ type: 'resume' });
  for (const transport of ALL) {
    assert.deepEqual(open.map((link) => link.transport), [transport]);
    assert.equal(it.state().name, 'connecting');
    end(open[0].id);
  }
  assert.deepEqual([open, it.state().name], [[], 'offline']);
});

test('one that has worked gets another chance before the next', () => {
  const { open, pass, end, online } = machine();
  online();
  pass(20 * SECOND);
  end(open[0].id);
  pass(SECOND);
  for (const transport of ['websocket', 'websocket', 'sse']) {
    assert.deepEqual(open.map((link) => link.transport), [transport]);
    end(open[0].id);
    pass(SECOND);
  }
});

test('no welcome within seconds is no welcome', () => {
  const { open, handle, pass } = machine();
  handle({ type: 'resume' });
  pass(5 * SECOND);
  assert.deepEqual(open.map((link) => link.transport), ['sse']);
  pass(4 * SECOND);
  assert.deepEqual(open.map((link) => link.transport), ['poll']);
});

test('a silent WebSocket is asked twice, then given up; other silent connections are given up', () => {
  const { open, handle, pass, online } = machine();
  const { id } = online();
  assert.deepEqual(pass(26 * SECOND).map(([what]) => what), ['ping']);
  handle({ type: 'heard', id });
  assert.deepEqual(pass(24 * SECOND), []);
  assert.deepEqual(pass(4 * SECOND).map(([what]) => what), ['ping']);
  assert.deepEqual(pass(4 * SECOND).map(([what]) => what), ['ping']);
  assert.equal(open[0].id, id);
  pass(6 * SECOND);
  assert.notEqual(open[0]?.id, id);
  for (const [transport, limit] of /** @type {const} */ ([['sse', 45], ['poll', 25]])) {
    const other = machine([transport]);
    const link = other.online();
    other.pass((limit - 1) * SECOND);
    assert.equal(other.open[0].id, link.id);
    other.busy = true;
    other.pass(5 * 60 * SECOND);
    assert.equal(other.open[0].id, link.id, 'nothing is read while listeners are busy');
    other.busy = false;
    other.pass(limit * SECOND + 2 * SECOND);
    assert.notEqual(other.open[0]?.id, link.id);
  }
});

test('a tick that is an hour late asks before it gives up', () => {
  const { it, handle, online } = machine();
  const { id } = online();
  const effects = it.handle({ type: 'tick' }, 1_000_000 + 3600 * SECOND, false);
  assert.deepEqual(effects, [['ping', id]]);
  handle({ type: 'heard', id });
  assert.equal(it.state().name, 'online');
});

test('a probe that sends the working connection away and comes to nothing brings it back', () => {
  const { it, open, handle, pass, end } = machine(['sse', 'poll']);
  handle({ type: 'resume' });
  end(open[0].id);
  handle({ type: 'welcome', id: open[0].id });
  pass(5 * SECOND);
  assert.deepEqual(open.map((link) => link.transport), ['poll', 'sse']);
  end(open[0].id, { superseded: true, drain: true });
  assert.equal(it.state().name, 'online');
  pass(2 * SECOND);
  assert.deepEqual(open.map((link) => link.transport), ['poll']);
  handle({ type: 'welcome', id: open[0].id });
  assert.equal(it.state().name, 'online');
});

test('superseded right after its own switch of connections, it thinks of itself first, but once', () => {
  const { it, open, handle, pass, end } = machine(['sse', 'poll']);
  handle({ type: 'resume' });
  end(open[0].id);
  handle({ type: 'welcome', id: open[0].id });
  pass(5 * SECOND);
  handle({ type: 'welcome', id: open[1].id });
  end(open[0].id, { superseded: true, drain: true });
  assert.notEqual(it.state().name, 'superseded');
  pass(SECOND);
  handle({ type: 'welcome', id: open[0].id });
  end(open[0].id, { superseded: true, drain: true });
  assert.equal(it.state().name, 'superseded');
});

test('pauses are full jitter with a doubling bound, and no shorter than the relay asks', () => {
  const subject = machine(['sse']);
  const { pass, open, end, handle, it } = subject;
  const { random } = Math;
  Math.random = () => 0.999;
  try {
    handle({ type: 'resume' });
    const pauses = [];
    for (let count = 0; count < 9; count++) {
      end(open[0].id);
      const pause = it.due - subject.now;
      pauses.push(Math.round(pause / 100) / 10);
      pass(pause);
    }
    assert.deepEqual(pauses, [0.5, 1, 2, 4, 8, 16, 30, 30, 30]);
    end(open[0].id, { retryAfter: 120 * SECOND });
    pass(119 * SECOND);
    assert.equal(open.length, 0);
    handle({ type: 'pageshow' });
    pass(0);
    assert.equal(open.length, 0, 'not even when the page wakes');
    handle({ type: 'resume' });
    assert.equal(open.length, 1, 'but when the user asks');
  } finally {
    Math.random = random;
  }
});

test('whatever happens, in whatever order, it is never stuck and never has too much', () => {
  let welcomed = 0;
  for (let seed = 1; seed <= 400; seed++) {
    withChance(seed, (random) => {
      const pick = (/** @type {any[]} */ items) => items[Math.floor(random() * items.length)];
      const subject = machine(pick([ALL, ['sse', 'poll'], ['poll'], ['websocket']]));
      const { it, open, handle, end, pass } = subject;
      handle({ type: 'resume' });
      for (let step = 0; step < 300; step++) {
        const link = pick(open) ?? { id: 0 };
        subject.busy = random() < 0.1;
        pick([
          () => handle({ type: 'welcome', id: link.id }),
          () => handle({ type: 'welcome', id: link.id }),
          () => handle({ type: 'heard', id: link.id }),
          () => end(link.id),
          () => end(link.id, { superseded: true, drain: true }),
          () => end(link.id, { drain: true, retryAfter: random() * 5000 }),
          () => end(link.id, { error: { status: pick([401, 404, 429, 503]) } }),
          () => end(link.id + 1000),
          () => pass(random() * 1000),
          () => pass(random() * 30_000),
          () => pass(random() * 30_000),
          () => it.handle({ type: 'tick' }, subject.now, false).length,
          () => handle({ type: pick(['online', 'offline', 'pageshow', 'visibilitychange', 'pagehide', 'resume']) }),
        ])();
        const { name } = it.state();
        const at = `seed ${seed}, step ${step}, ${name}`;
        assert(open.length <= 2, `${open.length} connections, ${at}`);
        if (name === 'online') welcomed++;
        if (name === 'connecting') assert(open.length === 1 || it.due < Infinity, at);
        if (name === 'superseded') assert.deepEqual([open.length, it.due], [0, Infinity], at);
        if (name === 'offline' && it.due === Infinity) handle({ type: 'pageshow' });
        assert(name === 'superseded' || it.due < Infinity || it.live?.ousted, `stuck: ${at}`);
      }
      handle({ type: 'close' });
      assert.deepEqual([open, it.due, it.state().name], [[], Infinity, 'closed']);
      assert.deepEqual(handle({ type: 'visibilitychange' }), []);
    });
  }
  assert(welcomed > 400 * 15, `${welcomed}`);
});
