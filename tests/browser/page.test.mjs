// The page itself, against a scripted server: that it does what x0's client does, and above all that it can stop.
// The other tests prove that it goes on; this one makes sure that their proof means something.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { startBrowser } from './lib/browser.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser?.stop());

/** A server that answers the n-th poll with the n-th of `answers`, holds all further ones, and notes every request. */
async function scripted(t, answers) {
  const requests = [];
  let polls = 0;
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk;
    const { method, url, headers } = request;
    requests.push({ method, url, headers, body });
    const cors = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': '*' };
    if (method === 'OPTIONS') return response.writeHead(204, cors).end();
    if (!url.startsWith('/get?')) return response.writeHead(200, cors).end('{}');
    if (polls === answers.length) return undefined;
    const [status, text] = answers[polls++];
    if (status === 'cut') return request.socket.destroy();
    return response.writeHead(status, cors).end(text);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { relay: `http://127.0.0.1:${server.address().port}`, requests };
}

test('a poll is preflighted, has x0\'s headers, a random query and x0\'s body', async (t) => {
  const { relay, requests } = await scripted(t, [[200, '{"messages": null}']]);
  const tab = await browser.tab(await browser.context(t), { relay, session: 'tab-a' });
  await tab.until('two polls', ({ polls }) => polls.length === 2);
  await tab.parked();

  assert.deepEqual(requests.map(({ method }) => method), ['OPTIONS', 'POST', 'OPTIONS', 'POST'], 'each poll is preflighted');
  const [asked, poll] = requests;
  assert.equal(asked.headers['access-control-request-method'], 'POST');
  assert.match(asked.headers['access-control-request-headers'], /cache-control.*content-type.*upgrade-insecure-requests/);
  assert.match(poll.url, /^\/get\?a__=\d{10}$/);
  assert.notEqual(requests[3].url, poll.url, 'every URL is new');
  assert.equal(poll.headers.origin, browser.origin);
  assert.equal(poll.headers['content-type'], 'application/json; charset=UTF-8');
  assert.equal(poll.headers.accept, 'application/json');
  assert.equal(poll.headers['cache-control'], 'max-age=0');
  assert.equal(poll.headers['upgrade-insecure-requests'], '1');
  assert.equal(poll.body, '{"session_src":"tab-a","type":"GET","SessionData":{"ID":"SYS_SESSION","Value":"tab-a"}}');
});

test('the session is sent as it is: null, empty, absent', async (t) => {
  const context = await browser.context(t);
  for (const [options, body] of [
    [{ session: null }, '{"session_src":null,"type":"GET","SessionData":{"ID":"SYS_SESSION","Value":null}}'],
    [{ session: '' }, '{"session_src":"","type":"GET","SessionData":{"ID":"SYS_SESSION","Value":""}}'],
    [{}, '{"type":"GET","SessionData":{"ID":"SYS_SESSION"}}'],
  ]) {
    const { relay, requests } = await scripted(t, []);
    const tab = await browser.tab(context, { relay, ...options });
    await tab.parked();
    assert.equal(requests[1].body, body);
  }
});

test('messages, the form button and network events go out as x0 sends them', async (t) => {
  const { relay, requests } = await scripted(t, []);
  const tab = await browser.tab(await browser.context(t), { relay, session: 'tab-a' });
  await tab.send('tab-b', '{"n":1e400}');
  await tab.page.evaluate(() => window.client.submit('tab-b', { Text: 'hi' }));
  await tab.page.evaluate(() => window.client.fire('tab-b', 'SYS__NET_EVENT-a b'));

  const [set, form, event] = requests.filter(({ method, url }) => method !== 'OPTIONS' && !url.startsWith('/get'));
  assert.match(set.url, /^\/set\?a__=\d{10}$/);
  const data = '"SessionData":{"ID":"SYS_SESSION","Value":"tab-a"}}';
  assert.equal(set.body, `{"session_dst":"tab-b","payload":{"n":1e400},${data}`);
  assert.match(form.url, /^\/python\/MsgHandler\.py\?a__=\d{10}$/);
  const lists = '"FormlistSelectDstUser":{"DstUserSession":"tab-b"},"FormlistExchangeData":{"Text":"hi"}';
  assert.equal(form.body, `{"RequestData":{${lists}},${data}`);
  assert.equal(event.method, 'GET');
  assert.match(event.url, /^\/python\/MsgHandler\.py\?a__=\d{10}&SYS_SESSION=tab-a&Type=SET&DestinationSession=tab-b&Payload=SYS__NET_EVENT-a\+b$/);
});

test('any 200 with JSON, and an empty one, is followed by the next poll', async (t) => {
  const answers = ['', '{}', '[]', '{"messages": null}', '{"error": true}', '{"messages": [{"n":1},{"n":2}]}'];
  const { relay } = await scripted(t, answers.map((text) => [200, text]));
  const tab = await browser.tab(await browser.context(t), { relay, session: 'tab-a' });
  await tab.until('the poll after the last answer', ({ polls }) => polls.length === answers.length + 1);
  assert.deepEqual(tab.messages.map(({ message }) => message), [{ n: 1 }, { n: 2 }]);
  assert.equal(await tab.stopped(), false);
});

test('anything else ends the polling for good', async (t) => {
  const context = await browser.context(t);
  for (const answer of [[204, ''], [404, '{}'], [500, '{}'], [503, '{}'], [200, 'Gateway'], [200, '{"n":NaN}'], [200, '\n']]) {
    const { relay } = await scripted(t, [answer]);
    const tab = await browser.tab(context, { relay, session: 'tab-a' });
    await tab.until(`the stop after ${answer}`, ({ stops }) => stops.length === 1);
    assert.equal(tab.polls.length, 1);
    assert.notEqual(await tab.stopped(), false);
  }
});

test('a refused connection ends the polling; a cut one does on its first use, later the browser asks again', async (t) => {
  const context = await browser.context(t);
  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const refused = `http://127.0.0.1:${closed.address().port}`;
  await new Promise((resolve) => closed.close(resolve));
  const first = await browser.tab(context, { relay: refused, session: 'tab-a' });
  await first.until('the stop after a refusal', ({ stops }) => stops.length === 1);
  assert.equal(await first.stopped(), 'status 0');

  // The poll goes out on the connection of its preflight, a reused one: cut, it is sent again on a fresh one, and cut
  // there, it fails.
  const { relay, requests } = await scripted(t, [['cut'], [200, '{}'], ['cut'], ['cut']]);
  const second = await browser.tab(context, { relay, session: 'tab-a' });
  await second.until('the stop after two cuts in a row', ({ stops }) => stops.length === 1);
  assert.equal(second.answers.length, 1, 'the cut poll was asked again and answered');
  assert.equal(requests.filter(({ method }) => method === 'POST').length, 4);
});
