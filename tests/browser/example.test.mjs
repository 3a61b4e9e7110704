// What stands in examples/ works as it is, started as its README says.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startBrowser } from './lib/browser.mjs';
import { freePort, runExample, tree } from './lib/example.mjs';
import { startRelay } from './lib/relay.mjs';

const run = promisify(execFile);
const WITHIN = { timeout: 30_000 };

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

test('examples/x0-example-10: a form goes from page to page and back', async (t) => {
  const { page: address } = await runExample(t, 'x0-example-10');
  const context = await browser.context(t);
  const open = async (session) => {
    const page = await context.newPage();
    await page.goto(`${address}&session=${session}`);
    return page;
  };
  const [a, b] = [await open('tab-a'), await open('tab-b')];
  for (const [from, to, line] of [[a, b, 'tab-a: hello, b'], [b, a, 'tab-b: hello, a'], [a, b, 'tab-a: <b>näxt</b>']]) {
    await from.getByLabel('Text').fill(line.slice(7));
    await from.getByRole('button', { name: 'Send' }).click();
    await to.getByRole('listitem').filter({ hasText: line }).waitFor(WITHIN);
  }
  assert.deepEqual(await b.getByRole('listitem').allTextContents(), ['tab-a: hello, b', 'tab-a: <b>näxt</b>']);
  assert.deepEqual(await a.getByRole('listitem').allTextContents(), ['tab-b: hello, a']);
  assert.match(await a.getByRole('status').textContent(), /^Sent to tab-b\.$/);
});

test('examples/curl.sh: one waits, one sends', async (t) => {
  const { base } = await startRelay(t);
  const script = fileURLToPath(new URL('../../examples/curl.sh', import.meta.url));
  const { stdout, stderr } = await run('sh', [script, base], WITHIN);
  assert.equal(stderr, '');
  assert.match(stdout, /tab-a got \{"messages": null, "status": "ok"\}/);
  assert.match(stdout, /tab-b got \{"messages": \[\{"text":"hello","n":12345678901234567890,"session_src":"tab-a"\}\]\}/);
});

/** A tab of the chat, once it is online. */
async function openChat(context, address) {
  const page = await context.newPage();
  await page.goto(address);
  await page.getByRole('status').filter({ hasText: 'Online, over websocket.' }).waitFor(WITHIN);
  return page;
}
const lines = (page) => page.locator('#lines li:not(.note)').allTextContents();

/** The tab has this line, which the relay has. */
const hasLine = (page, text) => page.locator('#lines li:not(.waiting)').getByText(text, { exact: true }).waitFor(WITHIN);

async function say(page, text) {
  await page.getByLabel('Message').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Three tabs, each invited by the one before; what each says comes to all. */
async function chatOfThree(context, address) {
  const tabs = [await openChat(context, address)];
  while (tabs.length < 3) {
    const invitation = await tabs.at(-1).getByRole('link', { name: 'Invite another tab' }).getAttribute('href');
    tabs.push(await openChat(context, invitation));
  }
  for (const [at, tab] of tabs.entries()) {
    await tab.getByText('2 others are here').waitFor(WITHIN);
    await tab.getByLabel('Your name').fill(`Tab ${at}`);
  }
  for (const [at, tab] of tabs.entries()) {
    await say(tab, `<b>hello</b> from ${at}`);
    for (const other of tabs) await hasLine(other, `Tab ${at}: <b>hello</b> from ${at}`);
  }
  return tabs;
}

test('examples/chat: three tabs; one is reloaded, one is offline for a while, one is copied', async (t) => {
  const context = await browser.context(t);
  const { page } = await runExample(t, 'chat');
  const [a, b, c] = await chatOfThree(context, page);

  // What comes while a tab is away is there when it is back, behind what it has shown before.
  await b.goto('about:blank');
  await say(a, 'while b is away');
  await hasLine(c, 'Tab 0: while b is away');
  await b.goBack();
  await hasLine(b, 'Tab 0: while b is away');

  await context.setOffline(true);
  await say(b, 'written offline');
  await b.locator('#lines li.waiting').getByText('written offline').waitFor(WITHIN);
  await context.setOffline(false);
  for (const tab of [a, b, c]) await hasLine(tab, 'Tab 1: written offline');
  const expected = ['Tab 0: <b>hello</b> from 0', 'Tab 1: <b>hello</b> from 1', 'Tab 2: <b>hello</b> from 2', 'Tab 0: while b is away', 'Tab 1: written offline'];
  for (const tab of [a, b, c]) assert.deepEqual(await lines(tab), expected);

  // As "Duplicate tab" does: a copy of its storage, so the same session. One has it, until the other is asked.
  const opened = context.waitForEvent('page', WITHIN);
  await c.evaluate(() => void window.open(location.href));
  const copy = await opened;
  const rests = (tab) => tab.getByText('Another tab goes on').waitFor(WITHIN).then(() => tab);
  const resting = await Promise.any([rests(c), rests(copy)]);
  const holder = resting === c ? copy : c;
  await say(a, 'to one of them');
  await hasLine(holder, 'Tab 0: to one of them');
  await resting.getByRole('button', { name: 'Go on in this tab' }).click();
  await rests(holder);
  await say(a, 'to the other');
  await hasLine(resting, 'Tab 0: to the other');
  assert.deepEqual((await lines(holder)).slice(-1), ['Tab 0: to one of them']);
});

test('examples/progress: a back end in Python, and one with curl, move the bars of the page that they were told', async (t) => {
  const { page: address } = await runExample(t, 'progress');
  const context = await browser.context(t);
  const [page, other] = [await context.newPage(), await context.newPage()];
  for (const tab of [page, other]) {
    await tab.goto(address);
    await tab.getByRole('status').filter({ hasText: 'Online, over websocket.' }).waitFor(WITHIN);
  }
  const commands = await page.locator('pre').allTextContents();
  assert.equal(commands.length, 2);
  for (const [at, command] of commands.entries()) {
    const { stdout, stderr } = await run('sh', ['-c', `${command} job-${at} 3`], { cwd: tree, timeout: 60_000 });
    await page.getByText(`job-${at}: done`).waitFor(WITHIN);
    const bar = page.locator('progress');
    assert.deepEqual(await bar.evaluateAll((all) => all.map(({ value, max }) => [value, max])), [[3, 3]]);
    assert.deepEqual([stdout.split('\r').at(-1).trim(), stderr], [at === 0 ? 'job-0: 3 of 3' : '', '']);
    await page.reload(); // it is the same session after that
  }
  assert.equal(await other.locator('progress').count(), 0);
});

const noNginx = existsSync('/usr/sbin/nginx') ? false : 'no nginx (Debian: apt-get install nginx-light)';
/** The longest poll there is takes its minute where the long tests run. */
const WAIT_S = process.env.X0_RELAY_PROVE ? 60 : 5;

test(`examples/nginx: the chat, events as they come, a poll of ${WAIT_S} s`, { skip: noNginx }, async (t) => {
  const { page, relay } = await runExample(t, 'nginx', { PAGE_PORT: `${await freePort()}` });
  const poll = fetch(`${relay}v1/messages?session=quiet&wait=${WAIT_S}`);
  const context = await browser.context(t);
  const [tab] = await chatOfThree(context, page);

  // Each way through the proxy, in the page: a message that was sent when the stream was open comes while it is.
  const got = await tab.evaluate(async () => {
    const { connect } = await import('/client-js/dist/x0-relay.min.js');
    const told = [];
    for (const transport of ['websocket', 'sse', 'poll']) {
      const client = connect('/relay', { session: `through nginx/${transport} ä`, transports: [transport] });
      while (client.state.name !== 'online') await new Promise((resolve) => client.on('state', resolve));
      const since = client.state.since;
      for (const n of [1, 2]) client.send(client.session, n);
      for await (const { payload } of client) {
        told.push([transport, payload]);
        if (payload === 2) break;
      }
      told.push(client.state.since === since);
      client.close();
    }
    return told;
  });
  assert.deepEqual(got, ['websocket', 'sse', 'poll'].flatMap((transport) => [[transport, 1], [transport, 2], true]));

  // A slash in a session's name is one, behind the proxy too.
  const { session, pending } = await (await fetch(`${relay}v1/sessions/${encodeURIComponent('through nginx/sse ä')}`)).json();
  assert.deepEqual([session, pending], ['through nginx/sse ä', 0]);
  const answer = await poll;
  assert.equal(answer.status, 200);
  assert.deepEqual((await answer.json()).messages, []);
});
