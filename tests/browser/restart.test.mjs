// x0's page stops for good on a refused connection. On a listening socket that outlives the relay (systemd's socket
// activation) it keeps polling: ten times each across `kill -9` and start, and across a drain and start.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBrowser } from './lib/browser.mjs';
import { holdSocket } from './lib/relay.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

const ROUNDS = 10;

/** Ends and starts the relay under two parked pages, and proves after each time that both still poll. */
async function acrossRestarts(t, signal, exitCode) {
  const relay = await holdSocket(t);
  await relay.start();
  const context = await browser.context(t);
  const a = await browser.tab(context, { relay: relay.base, session: 'tab-a' });
  const b = await browser.tab(context, { relay: relay.base, session: 'tab-b' });

  for (let round = 1; round <= ROUNDS; round += 1) {
    await Promise.all([a.parked(), b.parked()]);
    const begun = performance.now();
    assert.equal(await relay.stop(signal), exitCode);
    const gone = performance.now();
    // Every other time nothing serves for a second: the outage itself is what is tested here.
    if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 1000));
    await relay.start();
    const back = performance.now();

    // Kept in memory, a message from before the end is gone with it; these are sent to the new relay.
    const sent = await Promise.all([a.send('tab-b', `{"round":${round}}`), b.send('tab-a', `{"round":${round}}`)]);
    for (const { status, text } of sent) {
      assert.equal(status, 200);
      assert.deepEqual(JSON.parse(text), { messages: null, status: 'ok' });
    }
    for (const tab of [a, b]) {
      await tab.until(`the message of round ${round}`, ({ messages }) => messages.at(-1)?.message.round === round);
      assert.equal(await tab.stopped(), false);
    }
    const [ending, away, until] = [gone - begun, back - gone, performance.now() - back].map((ms) => ms.toFixed(0));
    t.diagnostic(`round ${round}: ended in ${ending} ms, away ${away} ms, both pages have their message ${until} ms after`);
  }

  for (const tab of [a, b]) {
    assert.deepEqual(tab.stops, []);
    assert.deepEqual(tab.messages.map(({ message }) => message.round), Array.from({ length: ROUNDS }, (_, n) => n + 1));
  }
  t.diagnostic(`${ROUNDS} times ${signal}: ${a.polls.length} and ${b.polls.length} polls`);
  return [a, b];
}

test('pages keep polling across kill -9 and start', async (t) => {
  await acrossRestarts(t, 'SIGKILL', 137);
});

test('pages keep polling across a drain and start', async (t) => {
  const tabs = await acrossRestarts(t, 'SIGTERM', 0);
  // The drain answers every parked poll: between two messages there is an empty answer.
  for (const { answers } of tabs) {
    const empty = answers.filter(({ text }) => JSON.parse(text).messages === null);
    assert.ok(empty.length >= ROUNDS, `${empty.length} empty answers for ${ROUNDS} drains`);
  }
});
