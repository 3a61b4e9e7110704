// The page at `/` when the connection does not hold: cut by hand, the relay ended and back, with and without a data
// directory, WebSockets blocked, event streams held back, two tabs with one session. Nothing is lost that the relay keeps,
// and no tab shows a message twice.
//
// Between the page and the relay is a proxy that stays where it is, so that no relay needs the port of one before it.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBetween } from './lib/between.mjs';
import { startBrowser } from './lib/browser.mjs';
import { arrived, AWAY, choose, connected, counts, post, press, says, send, shown, Tabs, wake, WITHIN } from './lib/pages.mjs';
import { settled, startRelay } from './lib/relay.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

/** Tabs at a proxy before a relay. */
async function start(t, ...args) {
  const relay = await startRelay(t, ...args);
  const between = await startBetween(t, relay.base);
  return { relay, between, tabs: new Tabs(await browser.context(t), between.base) };
}

const numbers = (mail) => mail.map(({ raw }) => JSON.parse(raw).n);
const upTo = (last) => Array.from({ length: last }, (_, at) => at + 1);

/** What a tab that lost nothing says of itself. */
async function assertWhole(page) {
  for (const name of ['waiting', 'missing']) await counts(page, name, 0);
  assert.deepEqual((await shown(page)).filter(({ gap }) => gap), []);
}

test('cut by hand and mended: what was sent meanwhile arrives, both ways, once', async (t) => {
  const { tabs, between } = await start(t);
  const first = await tabs.open('#session=a&to=b');
  const second = await tabs.open('#session=b&to=a');
  for (const tab of [first, second]) await connected(tab);
  let n = 0;
  for (const transport of ['the best that works', 'event stream', 'long poll']) {
    await choose(second, transport);
    await connected(second);
    await send(first, `{"n":${++n}}`);
    await arrived(second, n);
    await press(second, 'Cut the connection');
    await says(second, 'You have cut the connection.');
    for (let more = 0; more < 3; more += 1) await send(first, `{"n":${++n}}`);
    await counts(first, 'accepted', n);
    for (let mine = n - 3; mine < n; mine += 1) await send(second, `{"n":${mine - (n / 4 - 1)}}`);
    await counts(second, 'waiting', 3);
    await press(second, 'Mend the connection');
    await connected(second);
    assert.deepEqual(numbers(await arrived(second, n)), upTo(n));
    await counts(second, 'waiting', 0);
    const back = numbers(await arrived(first, (n / 4) * 3));
    assert.deepEqual(back, upTo((n / 4) * 3));
  }
  for (const tab of [first, second]) await assertWhole(tab);
  tabs.assertClean(AWAY, [between.base]);
});

test('the network breaks again and again while messages come and go: each is shown once', async (t) => {
  const { tabs, between, relay } = await start(t);
  const page = await tabs.open('#session=a&to=a');
  await connected(page);
  for (let n = 1; n <= 30; n += 1) {
    if (n % 2 === 0) await post(relay.base, 'program', 'a', `{"n":${n}}`);
    else await send(page, `{"n":${n}}`);
    if (n % 5 === 0) between.cut();
  }
  await wake(page);
  const mail = numbers(await arrived(page, 30));
  assert.deepEqual(mail.toSorted((x, y) => x - y), upTo(30));
  await counts(page, 'accepted', 15);
  await assertWhole(page);
  tabs.assertClean(AWAY, [between.base]);
});

test('the relay is killed and another takes its place: so is the page back, and says what it cannot know', async (t) => {
  const { relay, between, tabs } = await start(t);
  let living = relay;
  const page = await tabs.open('#session=a&to=a');
  await connected(page);
  for (const life of [1, 2]) {
    await send(page, `{"n":${2 * life - 1}}`);
    await arrived(page, 2 * life - 1);
    between.goAway();
    await living.kill();
    // It is away until this test brings it back, so this is said for good.
    await says(page, 'The relay is away.');
    await send(page, `{"n":${2 * life}}`);
    await counts(page, 'waiting', 1);
    living = await startRelay(t);
    between.target = living.base;
    between.comeBack();
    await wake(page);
    await connected(page);
    const mail = await arrived(page, 2 * life);
    assert.deepEqual(numbers(mail), upTo(2 * life));
    await counts(page, 'missing', '0, or more');
    const gaps = (await shown(page)).filter(({ gap }) => gap);
    assert.equal(gaps.length, life);
    assert.match(gaps[0].gap, /^The relay has begun anew/);
  }
  tabs.assertClean(AWAY, [between.base]);
});

test('with a data directory a killed relay has lost nothing, and the page neither', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'x0-relay-page-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const { relay, between, tabs } = await start(t, '--data-dir', dir);
  const page = await tabs.open('#session=a&to=a');
  await connected(page);
  await send(page, '{"n":1}');
  await arrived(page, 1);
  // What comes now waits in the relay, and on its disk.
  await press(page, 'Cut the connection');
  for (const n of [2, 3]) await post(relay.base, 'program', 'a', `{"n":${n}}`);
  between.goAway();
  await relay.kill();
  await press(page, 'Mend the connection');
  await says(page, 'The relay is away.');
  for (const n of [4, 5]) await send(page, `{"n":${n}}`);
  // A reload forgets what is on the page, not what is to be sent, nor where it was.
  between.target = (await startRelay(t, '--data-dir', dir)).base;
  between.comeBack();
  await wake(page);
  await connected(page);
  assert.deepEqual(numbers(await arrived(page, 5)), upTo(5));
  await assertWhole(page);
  tabs.assertClean(AWAY, [between.base]);
});

test('what waits to be sent, and the place in the mailbox, outlive a reload', async (t) => {
  const { tabs, between, relay } = await start(t);
  const page = await tabs.open('#session=a&to=b');
  await connected(page);
  await post(relay.base, 'program', 'a', '{"n":1}');
  await arrived(page, 1);
  await page.locator('#cursor').filter({ hasText: '.1' }).waitFor(WITHIN);
  await press(page, 'Cut the connection');
  for (const n of [1, 2]) await send(page, `{"n":${n}, "exact":1e400}`);
  await counts(page, 'waiting', 2);
  await post(relay.base, 'program', 'a', '{"n":2}');
  await page.reload();
  await connected(page);
  assert.deepEqual(numbers(await arrived(page, 1)), [2]);
  const second = await tabs.open('#session=b');
  const mail = await arrived(second, 2);
  assert.deepEqual(mail.map(({ raw }) => raw), upTo(2).map((n) => `{"n":${n}, "exact":1e400}`));
  tabs.assertClean(AWAY, [between.base]);
});

for (const sockets of ['refuse', 'swallow']) {
  test(`a proxy that does not pass WebSockets (${sockets}): an event stream will do`, async (t) => {
    const { tabs, between, relay } = await start(t);
    between.sockets = sockets;
    const page = await tabs.open('#session=a&to=a');
    await connected(page, 'an event stream');
    await post(relay.base, 'program', 'a', '{"n":1}');
    await send(page, '{"n":2}');
    assert.deepEqual(numbers(await arrived(page, 2)).toSorted(), [1, 2]);
    await assertWhole(page);
    tabs.assertClean(AWAY, [between.base]);
  });
}

test('a proxy that holds event streams back too: long poll will do, and later the WebSocket', async (t) => {
  const { tabs, between, relay } = await start(t, '--wait', '1s');
  between.sockets = 'refuse';
  between.answers = 'buffer';
  const page = await tabs.open('#session=a&to=a');
  await connected(page, 'long poll');
  for (const n of [1, 2]) await post(relay.base, 'program', 'a', `{"n":${n}}`);
  await arrived(page, 2);
  between.sockets = 'pass';
  // Better transports are tried now and then, less and less often.
  await connected(page, 'WebSocket', { timeout: 150_000 });
  await post(relay.base, 'program', 'a', '{"n":3}');
  assert.deepEqual(numbers(await arrived(page, 3)), upTo(3));
  await assertWhole(page);
  tabs.assertClean(AWAY, [between.base]);
});

test('where there is no protocol v1, as behind a gateway, the page speaks x0’s wire', async (t) => {
  const { tabs, between } = await start(t, '--wait', '1s');
  between.v1 = false;
  const page = await tabs.open('#session=a&to=a');
  await connected(page, 'x0’s polling');
  await send(page, '{"n":1}');
  await arrived(page, 1);
  between.goAway();
  await says(page, 'The relay is away.');
  between.comeBack();
  await wake(page);
  await connected(page, 'x0’s polling');
  await send(page, '{"n":2}');
  assert.deepEqual(numbers(await arrived(page, 2)), upTo(2));
  tabs.assertClean(AWAY, [between.base]);
});

const LOST = 'Another tab, or another program, receives for this session now.';

/** Which of two tabs has the session, and which has lost it; a tab that has lost it does not fight. */
async function contest(...tabs) {
  const lost = await Promise.any(tabs.map((tab) => says(tab, LOST).then(() => tab)));
  const won = tabs.find((tab) => tab !== lost);
  await connected(won);
  return [won, lost];
}

test('two tabs with one session: one has it, and the other takes it back when it is asked to', async (t) => {
  const { tabs, between, relay } = await start(t);
  const tab = [await tabs.open('#session=a&to=b')];
  await connected(tab[0]);
  await post(relay.base, 'program', 'a', '{"n":1}');
  assert.deepEqual(numbers(await arrived(tab[0], 1)), [1]);
  await settled(relay.base, 'a');
  tab.push(await tabs.open('#session=a&to=b'));
  const all = [[1], []];
  // Who is sent away soon after it had changed its connection may come back once; so either may have it.
  const [won, lost] = await contest(...tab);
  const [winner, loser] = [won, lost].map((one) => all[tab.indexOf(one)]);
  await post(relay.base, 'program', 'a', '{"n":2}');
  winner.push(2);
  assert.deepEqual(numbers(await arrived(won, winner.length)), winner);
  await settled(relay.base, 'a');
  // Who has lost the session can send all the same.
  await send(lost, '{"n":1}');
  await counts(lost, 'accepted', 1);
  for (let holder = won; holder !== lost; [holder] = await contest(...tab)) {
    await lost.getByRole('button', { name: 'Take it back' }).click();
    await connected(lost);
  }
  await post(relay.base, 'program', 'a', '{"n":3}');
  loser.push(3);
  assert.deepEqual(numbers(await arrived(lost, loser.length)), loser);
  assert.deepEqual(numbers(await arrived(won, winner.length)), winner);
  tabs.assertClean(AWAY, [between.base]);
});
