// The minified client against a model of the relay, in worlds where everything goes wrong that can, each world by its
// seed. Whatever happened: nothing is lost that no gap explains, nothing is handed out twice, nothing is sent twice, order
// holds, and when all is well again the client is online over the best transport.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Page, Storage } from './support/client.js';
import { Model } from './support/model.js';
import { Network } from './support/network.js';
import { World } from './support/world.js';

const SEEDS = Number(process.env.X0_SEEDS ?? 60);
const FIRST = Number(process.env.X0_SEED ?? 1);
const MINUTE = 60_000;

/** One client in its world, and everything that it was given. */
class Tab {
  /** @param {World} world @param {Model} model @param {{ storage?: Storage, slow?: boolean }} [habits] */
  constructor(world, model, habits = {}) {
    Object.assign(this, { world, model, habits });
    this.world = world;
    this.habits = habits;
    this.network = new Network(world, model);
    /** @type {any[]} what listeners have finished with, over all pages */
    this.handled = [];
    /** @type {any[]} */
    this.gaps = [];
    /** @type {any[]} */
    this.errors = [];
    /** @type {string[]} */
    this.states = [];
    /** @type {{ number: number, result: any }[]} */
    this.sent = [];
    this.sends = 0;
    this.open();
  }

  open() {
    const { world } = this;
    /** @type {Set<string>} */
    const given = new Set();
    this.page = new Page(world, this.network);
    this.relay = this.page.connect({ session: 'a', storage: this.habits.storage, wait: 10_000 });
    this.relay.on('state', (state) => this.states.push(state.name));
    this.relay.on('gap', (gap) => this.gaps.push({ ...gap, before: this.handled.length }));
    this.relay.on('error', (error) => this.errors.push(error));
    this.relay.on('message', async (message) => {
      assert(!given.has(message.id), `message ${message.seq} was given twice to one page`);
      given.add(message.id);
      const { alive } = /** @type {Page} */ (this.page);
      assert(alive);
      const page = this.page;
      if (this.habits.slow && world.random() < 0.2) {
        await new Promise((done) => world.setTimeout(() => done(undefined), world.between(1, 3000)));
        if (this.page !== page) return new Promise(() => {});
      }
      this.handled.push(message);
    });
  }

  /** @param {string} to */
  send(to) {
    const number = ++this.sends;
    const { relay } = /** @type {{ relay: any }} */ (this);
    relay.send(to, { number }).then(
      (/** @type {any} */ result) => this.sent.push({ number, result }),
      (/** @type {any} */ error) => this.sent.push({ number, result: error }),
    );
  }

  reload() {
    const { page } = /** @type {{ page: Page }} */ (this);
    page.tell('pagehide');
    page.kill();
    this.open();
  }
}

/** What can go wrong, and how it ends. @type {Record<string, (tab: Tab, world: World, model: Model) => (() => void) | void>} */
const FAULTS = {
  cut: ({ network }) => network.cut(),
  down({ network }) {
    network.state = 'down';
    network.cut();
    return () => (network.state = 'up');
  },
  hole({ network }) {
    network.state = 'hole';
    network.swallow();
    return () => (network.state = 'up');
  },
  nap: ({ network }) => network.swallow(),
  'WebSockets refused'({ network }) {
    network.websockets = 'refuse';
    network.cut();
    return () => (network.websockets = 'pass');
  },
  'WebSockets swallowed'({ network }) {
    network.websockets = 'swallow';
    network.cut();
    return () => (network.websockets = 'pass');
  },
  'nothing but polls'({ network }) {
    network.websockets = 'refuse';
    network.streams = 'refuse';
    network.cut();
    return () => Object.assign(network, { websockets: 'pass', streams: 'pass' });
  },
  'streams held back'({ network }) {
    network.streams = 'buffer';
    network.websockets = 'refuse';
    network.cut();
    return () => Object.assign(network, { websockets: 'pass', streams: 'pass' });
  },
  'answers lost'({ network }, world) {
    network.lostAnswers += Math.ceil(world.between(0, 3));
  },
  refusals({ network }, world) {
    const problem = world.pick([
      { status: 503, kind: 'draining', retryAfter: 2 },
      { status: 429, kind: 'too_many', retryAfter: 1 },
      { status: 507, kind: 'mailbox_full' },
      { status: 502 },
    ]);
    network.refuse = () => problem;
    const rest = world.setTimeout(() => (network.refuse = undefined), 20_000);
    return () => (world.clearTimeout(rest), (network.refuse = undefined));
  },
  drain({ network }, world) {
    for (const connection of /** @type {any[]} */ ([...network.connections])) {
      connection.drain?.(world.between(0.1, 3));
      connection.end?.({ type: 'goodbye', reason: 'drain', retry_after: world.between(0.1, 3) }, 1012);
    }
  },
  'slow network'({ network }, world) {
    network.latency = [200, world.between(400, 3000)];
    return () => (network.latency = [1, 40]);
  },
  'late timers'(tab, world) {
    const page = /** @type {Page} */ (tab.page);
    page.lateness = () => world.between(0, MINUTE);
    page.hide(true);
    return () => {
      page.lateness = () => 0;
      page.hide(false);
    };
  },
  sleep({ network, page }, world) {
    if (world.random() < 0.5) network.swallow();
    world.sleep(world.between(1, 5) * MINUTE);
    if (world.random() < 0.5) /** @type {Page} */ (page).hide(false);
  },
  'put away'({ page }) {
    /** @type {Page} */ (page).tell('pagehide');
    return () => /** @type {Page} */ (page).tell('pageshow');
  },
  'network events': ({ page }, world) => /** @type {Page} */ (page).tell(world.pick(['offline', 'online'])),
  expiry({ network }, world, model) {
    network.state = 'hole';
    network.swallow();
    for (let count = 0; count < 10; count++) model.send({ to: 'a', payload: { doomed: count } });
    return () => {
      const mailbox = model.mailbox('a');
      for (const seq of [...mailbox.messages.keys()]) if (world.random() < 0.5) mailbox.remove(seq, 'expired');
      network.state = 'up';
    };
  },
};

/** @param {World} world @param {Model} model @param {Tab} tab @param {{ minutes?: number, more?: Record<string, any> }} [plan] */
async function misfortune(world, model, tab, { minutes = 8, more = {} } = {}) {
  const faults = { ...FAULTS, ...more };
  const story = [];
  const end = world.now + minutes * MINUTE;
  let strangers = 0;
  while (world.now < end) {
    for (let burst = Math.floor(world.between(0, 4)); burst > 0; burst--) tab.send('a');
    for (let burst = Math.floor(world.between(0, 6)); burst > 0; burst--) model.send({ to: 'a', payload: { stranger: ++strangers } });
    await world.pass(world.between(0, 20_000));
    const name = world.pick(Object.keys(faults));
    story.push(`${Math.round((world.now - 1_780_000_000_000) / 1000)}: ${name}`);
    const heal = /** @type {any} */ (faults)[name](tab, world, model);
    await world.pass(world.between(0, heal ? 90_000 : 3000));
    heal?.();
  }
  Object.assign(tab.network, { state: 'up', websockets: 'pass', streams: 'pass', refuse: undefined, lostAnswers: 0 });
  return story;
}

/** @param {Tab} tab @param {Model} model */
function checkDelivery(tab, model) {
  const ids = tab.handled.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, 'a message was handled twice');
  const { epoch } = model.mailbox('a');
  const ofEpoch = model.log.filter((one) => one.session === 'a' && one.epoch === epoch).map(({ message }) => message);
  const handled = new Set(ids);
  const explained = (/** @type {number} */ seq) => tab.gaps.some(({ from, to }) => from !== null && from <= seq && seq <= to);
  const lost = ofEpoch.filter(({ id, seq }) => !handled.has(id) && !explained(seq));
  assert.deepEqual(lost, [], 'messages are missing and no gap says so');
  const seqs = tab.handled.filter(({ id }) => ofEpoch.some((message) => message.id === id)).map(({ seq }) => seq);
  assert.deepEqual(seqs, [...seqs].sort((one, other) => one - other), 'messages came out of order');
  for (const gap of tab.gaps) assert.notEqual(gap.reason, 'unknown');
}

/** @param {Tab} tab @param {Model} model */
function checkSends(tab, model) {
  assert.equal(tab.sent.length, tab.sends, 'sends that neither succeed nor fail');
  const numbers = model.log.map(({ message }) => message.payload.number).filter(Boolean);
  assert.equal(new Set(numbers).size, numbers.length, 'a send was doubled');
  assert.deepEqual(numbers, [...numbers].sort((one, other) => one - other), 'sends were accepted out of order');
  for (const { number, result } of tab.sent) {
    if (result.code) assert(['refused', 'uncertain'].includes(result.code), result);
    if (result.code !== 'uncertain') assert.equal(numbers.includes(number), !result.code, `send ${number}`);
  }
}

/** Runs a world for each seed, and says which one it was. @param {string} name @param {(world: World, model: Model) => Promise<void>} run */
function worlds(name, run) {
  test(`${name} (${SEEDS} worlds)`, async () => {
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      const world = new World(seed);
      try {
        await run(world, new Model(world.random, () => world.now));
      } catch (cause) {
        throw new Error(`seed ${seed} (X0_SEED=${seed} X0_SEEDS=1): ${/** @type {Error} */ (cause).message}`, { cause });
      }
    }
  });
}

/** @param {Tab} tab @param {World} world */
const recovered = (tab, world) =>
  world.pass(20 * MINUTE, () => {
    const state = /** @type {any} */ (tab.relay?.state);
    return state.transport === 'websocket' && tab.sent.length === tab.sends && tab.relay?.unsent === 0;
  });

/** @type {Record<string, number>} what the worlds were like, so that a test of nothing is noticed */
const happened = { handled: 0, sends: 0, gaps: 0 };

worlds('one page, one session', async (world, model) => {
  const tab = new Tab(world, model, { slow: world.random() < 0.5 });
  const story = await misfortune(world, model, tab);
  try {
    assert(await recovered(tab, world), `not well again: ${JSON.stringify(tab.relay?.state)}, unsent ${tab.relay?.unsent}`);
    await world.pass(MINUTE);
    checkDelivery(tab, model);
    checkSends(tab, model);
    assert.equal(model.mailbox('a').messages.size, 0, 'handled messages are not acknowledged');
    const { complaints } = /** @type {Page} */ (tab.page);
    assert.deepEqual(complaints, []);
    assert(!tab.states.includes('superseded'), 'it took itself for another tab');
    happened.handled += tab.handled.length;
    happened.sends += tab.sends;
    happened.gaps += tab.gaps.length;
    for (const name of tab.states) happened[name] = (happened[name] ?? 0) + 1;
  } catch (error) {
    /** @type {Error} */ (error).message += `\n${story.join('\n')}`;
    throw error;
  }
  tab.relay?.close();
  await world.pass(20 * MINUTE);
  assert.deepEqual(world.timers, [], 'a closed client has timers');
});

test('in those worlds things happened', () => {
  console.log(JSON.stringify(happened));
  assert(happened.handled > 40 * SEEDS && happened.sends > 12 * SEEDS && happened.gaps > SEEDS / 2);
  assert(happened.online > 8 * SEEDS && happened.offline > SEEDS && happened.connecting > 5 * SEEDS);
});

worlds('a page that is reloaded, with a storage', async (world, model) => {
  const tab = new Tab(world, model, { slow: true, storage: new Storage() });
  const reload = (/** @type {Tab} */ { reload }) => void reload.call(tab);
  await misfortune(world, model, tab, { more: { reload, 'reload again': reload, 'and again': reload } });
  await world.pass(20 * MINUTE, () => /** @type {any} */ (tab.relay?.state).transport === 'websocket' && tab.relay?.unsent === 0);
  await world.pass(MINUTE);
  checkDelivery(tab, model);
  const numbers = model.log.map(({ message }) => message.payload.number).filter(Boolean);
  assert.equal(new Set(numbers).size, numbers.length, 'a send was doubled');
  // Whatever page it was sent on: it is accepted, or somebody was told.
  const told = [...tab.errors.map(({ sent }) => sent?.payload.number), ...tab.sent.filter(({ result }) => result.code).map(({ number }) => number)];
  for (let number = 1; number <= tab.sends; number++) assert(numbers.includes(number) || told.includes(number), `send ${number} is lost`);
});

worlds('a relay that forgets everything when it restarts', async (world, model) => {
  const tab = new Tab(world, model);
  await world.pass(1000);
  let restarts = 0;
  const restart = () => {
    restarts++;
    model.forgetEverything();
    tab.network.cut();
  };
  await misfortune(world, model, tab, { more: { restart, 'restart again': restart, 'and again': restart } });
  restart();
  assert(await recovered(tab, world), `not well again: ${JSON.stringify(tab.relay?.state)}`);
  await world.pass(MINUTE);
  checkDelivery(tab, model);
  const epochs = tab.gaps.filter(({ reason }) => reason === 'epoch').length;
  assert(epochs >= 1 && epochs <= restarts, `${epochs} gaps for ${restarts} restarts`);
});

worlds('two tabs with one session', async (world, model) => {
  const tabs = [new Tab(world, model), new Tab(world, model)];
  for (let turn = 0; turn < 12; turn++) {
    const tab = world.pick(tabs);
    tab.send('a');
    model.send({ to: 'a', payload: { stranger: turn } });
    await world.pass(world.between(0, 30_000));
    const event = world.pick(['hide', 'show', 'resume', 'cut', 'nap']);
    if (event === 'cut') tab.network.cut();
    if (event === 'nap') tab.network.swallow();
    if (event === 'resume') tab.relay?.resume();
    if (event === 'hide' || event === 'show') tab.page?.hide(event === 'hide');
    await world.pass(world.between(0, 2 * MINUTE));
    const names = tabs.map(({ relay }) => relay?.state.name).sort();
    // They do not fight: once it is quiet, one has the session and the other says so.
    await world.pass(2 * MINUTE);
    assert.deepEqual(tabs.map(({ relay }) => relay?.state.name).sort(), ['online', 'superseded'], `${event}, before ${names}`);
  }
  const asked = tabs.reduce((sum, { network }) => sum + network.asked.length, 0);
  assert(asked < 600, `${asked} requests: they fight`);
  const handled = new Set(tabs.flatMap((tab) => tab.handled.map(({ id }) => id)));
  const lost = model.log.filter(({ message }) => !handled.has(message.id));
  assert.deepEqual(lost, [], 'neither tab has it');
});
