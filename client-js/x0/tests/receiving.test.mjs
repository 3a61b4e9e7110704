// How messages come: WebSocket, polls with a cursor, x0's polls; what is lost, blocked, away, drained or superseded. At any
// time one thing is under way (Page.socket, Page.request and Page.underWay see to that).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Page, answer, frame, message, messages, netMessage } from './fakes.mjs';

/** A page whose socket is welcome and has brought the messages 1 to 3. */
function pageOnline(options) {
  const page = new Page(options);
  page.welcome();
  page.socket.say(frame(1, 2, 3));
  return page;
}

/** A page that polls, because its socket was refused. */
function pagePolling(options) {
  const page = new Page(options);
  page.block();
  return page;
}

/** Answers polls of ten seconds until something else is under way than one; tells how many there were. */
function pollUntilSomethingElse(page, most = 100) {
  for (let polls = 0; polls < most; polls += 1) {
    if (page.underWay !== '/v1/messages') return polls;
    page.tick(10_000);
    page.request.answer(200, answer());
  }
  return assert.fail(`${most} polls, and nothing else`);
}

test('a socket: the sub-protocol, an acknowledgement after the messages, repeats dropped', () => {
  const page = pageOnline();
  assert.equal(page.socket.protocol, 'x0-relay.v1');
  assert.equal(page.state, 'websocket');
  page.socket.say(frame(2, 3));
  page.socket.say(frame(3, 4));
  assert.deepEqual(page.numbers, [1, 2, 3, 4]);
  assert.deepEqual(page.socket.sent.map(({ cursor }) => cursor), ['aa.3', 'aa.3', 'aa.4']);
  const many = Array.from({ length: 1000 }, (_, at) => at + 5);
  page.socket.say(frame(...many));
  page.socket.say(frame(4, 5, 1004));
  assert.equal(page.numbers.length, 1004, 'however long ago it was');
});

test('a message is acknowledged after it was processed, not before', () => {
  const page = new Page();
  let sentMeanwhile = null;
  page.global.probe = () => (sentMeanwhile = page.socket.sent.length);
  page.run('sysFactory.objects.Text1.setData = function () { probe(); }');
  page.welcome();
  page.socket.say(frame(1));
  assert.equal(sentMeanwhile, 0);
  assert.equal(page.socket.sent.length, 1);
});

test('what is no frame, or none that is known, changes nothing', () => {
  const page = pageOnline();
  for (const text of ['', 'no JSON', '[]', 'null', '{"type":"sent","ref":"1"}', '{"type":"expiring","in":60}', '{}']) page.socket.say(text);
  page.socket.say(frame(4));
  assert.deepEqual(page.numbers, [1, 2, 3, 4]);
  assert.deepEqual(page.complaints, []);
});

test('a socket that breaks: another one at once, from the cursor on', () => {
  const page = pageOnline();
  page.socket.end(1006);
  assert.equal(page.state, 'offline');
  page.tick(350);
  assert.equal(page.socket.address, 'ws://relay:8080/v1/ws?session=tab-b&after=aa.3');
  page.welcome('aa.3');
  assert.equal(page.state, 'websocket');
});

test('before the first message the welcome has the cursor', () => {
  const page = new Page();
  page.welcome('aa.7');
  page.tick(6000);
  page.socket.end(1006);
  page.tick(350);
  assert.match(page.socket.address, /&after=aa\.7$/);
});

test('the relay away for a minute: tries go on, seconds apart and never more than one; back, it is at once a socket', () => {
  const page = pageOnline();
  page.socket.end(1006);
  let [rounds, longest] = [0, 0];
  for (let spent = 0; spent < 60_000; rounds += 1) {
    const since = page.clock.now;
    while (page.underWay === '') page.tick(50);
    longest = Math.max(longest, page.clock.now - since);
    spent += page.clock.now - since;
    page.block();
    assert.equal(page.request.query.after, 'aa.3');
    page.request.fail();
    assert.equal(page.state, 'offline');
  }
  assert.ok(longest <= 5150, `${longest} ms between two tries`);
  assert.ok(rounds >= 12 && rounds < 100, `${rounds} tries in a minute`);
  while (page.underWay === '') page.tick(50);
  page.welcome('aa.3');
  page.socket.say(frame(4));
  assert.deepEqual(page.numbers, [1, 2, 3, 4]);
  page.socket.end(1006);
  page.tick(350);
  assert.equal(page.underWay, 'socket', 'what went wrong before does not count any more');
});

test('sockets blocked: polls with the cursor go on without a pause, a socket is tried now and then, and taken when it can be', () => {
  const page = pagePolling();
  assert.deepEqual(page.request.query, { session: 'tab-b', wait: '10' });
  assert.deepEqual(page.request.headers, {}, 'no header that would be preflighted');
  assert.equal(page.request.timeout, 25_000, 'one that hangs is given up');
  page.tick(1000);
  assert.equal(page.state, 'polling');
  page.request.answer(200, answer(1, 2));
  assert.equal(page.request.query.after, 'aa.2');
  const pauses = [];
  for (let n = 0; n < 8; n += 1) {
    pauses.push(pollUntilSomethingElse(page));
    assert.equal(page.state, 'polling');
    page.block();
  }
  assert.ok(pauses[0] === 1 && pauses.at(-1) >= 3 && Math.max(...pauses) <= 7, `polls between tries: ${pauses}`);
  pollUntilSomethingElse(page);
  page.welcome();
  page.socket.say(frame(2, 3));
  assert.deepEqual(page.numbers, [1, 2, 3]);
  assert.equal(page.state, 'websocket');
});

test('a socket that is never welcome is given up after 4 s', () => {
  const page = new Page();
  page.socket.readyState = 1; // some proxies say yes, and then nothing
  page.tick(3900);
  assert.equal(page.underWay, 'socket');
  page.tick(200);
  assert.equal(page.underWay, '/v1/messages');
});

test('a proxy that lets sockets in and ends them: polling', () => {
  const page = new Page();
  page.welcome();
  page.tick(2000);
  page.socket.end(1006);
  assert.equal(page.underWay, '/v1/messages');
});

test('a browser without WebSocket, or one that does not allow it here, polls', () => {
  assert.equal(new Page({ noSockets: true }).underWay, '/v1/messages');
  const page = new Page({ start: false });
  page.run('WebSocket = function () { throw new Error("SecurityError"); }');
  page.handler.getMsg();
  assert.equal(page.underWay, '/v1/messages');
});

test('a poll whose answer is lost is asked again with the same cursor, and nothing is shown twice', () => {
  const page = pagePolling();
  page.request.answer(200, answer(1, 2));
  page.request.fail();
  assert.equal(page.underWay, '');
  page.tick(400);
  page.block();
  assert.equal(page.request.query.after, 'aa.2');
  page.request.answer(200, { ...answer(2, 3) });
  assert.deepEqual(page.numbers, [1, 2, 3]);
});

test('answers that bring nothing and come at once are asked for once a second', () => {
  const page = pagePolling();
  page.request.answer(200, answer(1));
  let polls = 0;
  for (let ms = 0; ms < 4500; ms += 50) {
    if (page.underWay === '/v1/messages') {
      page.request.answer(200, answer());
      polls += 1;
    }
    page.tick(50);
  }
  assert.ok(polls >= 3 && polls <= 6, `${polls} polls in 4.5 s`);
});

test('refusals: 400 gives up the cursor, 429 and 503 wait as long as they say', () => {
  const page = pagePolling();
  page.request.answer(200, answer(1, 2));
  page.request.answer(400, { kind: 'invalid_cursor' });
  page.tick(400);
  assert.deepEqual(page.request.query, { session: 'tab-b', wait: '10' });
  page.request.answer(200, { ...answer(1), messages: [message(1, netMessage({ n: 'again' }), 'new')] });
  assert.deepEqual(page.numbers, [1, 2, 'again'], 'the numbers of another mailbox');
  for (const status of [429, 503]) {
    page.request.answer(status, {}, { 'Retry-After': '3' });
    page.tick(2900);
    assert.equal(page.underWay, '');
    page.tick(200);
    if (page.underWay === 'socket') page.block();
  }
  assert.equal(page.underWay, '/v1/messages');
});

test("a server without protocol v1: x0's polls, in x0's words, and later a look whether it has it now", () => {
  const page = pagePolling();
  page.request.answer(404, { error: true });
  const { method, path, query, body } = page.request;
  assert.deepEqual({ method, path, body }, {
    method: 'POST',
    path: '/get',
    body: { session_src: 'tab-b', type: 'GET', SessionData: { ID: 'SYS_SESSION', Value: 'tab-b' } },
  });
  assert.match(query.a__, /^\d{10}$/);
  assert.equal(page.request.headers['Content-Type'], 'application/json; charset=UTF-8');
  assert.equal(page.request.timeout, 60_000);
  page.request.answer(200, { messages: [{ ...netMessage({ n: 1 }), session_src: 'tab-a' }, netMessage({ n: 2 })] });
  page.tick(10_000);
  page.request.answer(200, { messages: null });
  page.block();
  assert.equal(page.underWay, '/v1/messages', 'the socket was due, and with it protocol v1');
  page.request.answer(200, answer(3));
  assert.deepEqual(page.numbers, [1, 2, 3]);
  assert.deepEqual(page.complaints, []);
});

test("an address that hides its answer from a page of another origin, as x0's own server does, is no relay's", () => {
  const page = pagePolling();
  page.request.fail();
  assert.equal(page.underWay, '/get');
  page.request.answer(200, '');
  page.tick(1000);
  assert.equal(page.underWay, '/get');
  const away = new Page({ noSockets: true });
  away.request.fail();
  away.request.fail();
  away.tick(400);
  assert.equal(away.underWay, '/v1/messages', 'nothing is known of a server that was away');
});

test("x0's polls do not stop: refused, broken, no JSON, an error object, another status", () => {
  const page = pagePolling();
  page.request.answer(404, {});
  const outcomes = [
    (request) => request.fail(),
    (request) => request.answer(200, '<html>'),
    (request) => request.answer(200, 'null'),
    (request) => request.answer(500, ''),
    (request) => request.answer(200, { error: true, exception_id: 'InvalidSessionID', exception: 'Invalid session ID' }),
    (request) => request.answer(404, ''),
  ];
  for (const [at, outcome] of [...outcomes, ...outcomes].entries()) {
    const { request } = page;
    outcome(request);
    assert.equal(page.underWay, '', `outcome ${at}: a wait first`);
    page.tick(5200);
    if (page.underWay === 'socket') page.block();
    if (page.underWay === '/v1/messages') page.request.answer(404, {});
    assert.equal(page.underWay, '/get', `outcome ${at}: then another poll`);
  }
  page.request.answer(200, { messages: [netMessage({ n: 1 })] });
  assert.deepEqual(page.numbers, [1]);
});

test('a gap is complained of, unless somebody else has those messages; a new epoch counts anew', () => {
  const page = pageOnline();
  page.socket.say({ ...frame(9), gap: { from: 4, to: 8, reason: 'taken' } });
  assert.deepEqual(page.complaints, []);
  page.socket.say({ ...frame(21), gap: { from: 10, to: 20, reason: 'expired' } });
  assert.match(page.complaints[0], /messages are lost \(expired\)/);
  page.socket.say({ type: 'messages', messages: [], gap: { from: null, to: null, reason: 'epoch' }, cursor: 'bb.0', more: false });
  // The third was there before the restart, and has another number now.
  const again = [message(1, netMessage({ n: 'b1' }), 'b1'), message(2, netMessage({ n: 21 }), 'id-21'), message(3, netMessage({ n: 'b3' }), 'b3')];
  page.socket.say({ type: 'messages', messages: again, cursor: 'bb.3', more: false });
  assert.deepEqual(page.numbers, [1, 2, 3, 9, 21, 'b1', 'b3']);
  assert.deepEqual(page.socket.sent.slice(-2).map(({ cursor }) => cursor), ['bb.0', 'bb.3']);
});

test('a drain: back when the relay said, not before, not even if somebody turns to the page', () => {
  const page = pageOnline();
  page.socket.say({ type: 'goodbye', reason: 'drain', retry_after: 2.7 });
  page.tick(2600);
  page.fire('focus');
  page.fire('online');
  assert.equal(page.underWay, '');
  page.tick(200);
  assert.match(page.socket.address, /after=aa\.3$/);
  page.block();
  page.request.answer(200, { ...answer(4), retry_after: 1.5 });
  page.tick(1400);
  assert.equal(page.underWay, '');
  page.tick(200);
  page.welcome();
  assert.deepEqual(page.numbers, [1, 2, 3, 4]);
});

for (const [how, supersede] of Object.entries({
  'a goodbye': (page) => page.socket.say({ type: 'goodbye', reason: 'superseded' }),
  'a close': (page) => page.socket.end(4001),
  'a poll': (page) => {
    page.socket.end(1006);
    page.tick(400);
    page.block();
    page.request.answer(200, { ...answer(), superseded: true });
  },
})) {
  test(`superseded by ${how}: no fight; back when somebody turns to this page`, () => {
    for (const event of ['focus', 'visibilitychange', 'pageshow', 'pointerdown', 'keydown']) {
      const page = pageOnline();
      supersede(page);
      assert.equal(page.state, 'superseded');
      page.tick(600_000);
      page.fire('online');
      page.document.visibilityState = 'hidden';
      page.fire('visibilitychange');
      assert.equal(page.underWay, '');
      page.document.visibilityState = 'visible';
      page.fire(event);
      const sockets = page.sockets.length;
      page.fire('focus'); // a browser fires several at once
      assert.equal(page.underWay, 'socket', event);
      assert.equal(page.sockets.length, sockets, 'one try for all of them');
      page.welcome('aa.3');
      page.socket.say(frame(4));
      assert.deepEqual(page.numbers, [1, 2, 3, 4]);
      assert.equal(page.states.at(-1), 'x0-relay-state: websocket');
    }
  });
}

test('superseded, the page may ask for it back with getMsg; otherwise getMsg changes nothing', () => {
  const page = pageOnline();
  page.handler.getMsg();
  page.handler.getMsg();
  assert.equal(page.sockets.length, 1);
  page.socket.say({ type: 'goodbye', reason: 'superseded' });
  page.handler.getMsg();
  assert.equal(page.underWay, 'socket');
});

test('a second object on one page takes over from the first, with its cursor', () => {
  const page = pageOnline();
  page.run('second = new sysAsyncNotifyMsgHandler(sysFactory); second.processMsg = function (m) { x0Page.note({ payload: m.payload }); }; second.getMsg();');
  page.socket.say(frame(3, 4));
  assert.deepEqual(page.shown.at(-1), { payload: { n: 4 } });
  assert.equal(page.shown.length, 4);
  assert.equal(page.run('second.state'), 'websocket');
});

test('a silent socket is asked, and dead if it does not answer', () => {
  const page = pageOnline();
  page.tick(20_000);
  assert.deepEqual(page.socket.sent.at(-1), { type: 'ping' });
  page.tick(5000);
  page.socket.say({ type: 'pong' });
  page.tick(3000 + 20_000);
  assert.equal(page.socket.sent.filter(({ type }) => type === 'ping').length, 2);
  page.tick(7900);
  assert.equal(page.sockets.length, 1);
  page.tick(500);
  assert.equal(page.sockets.length, 2, 'a fresh one');
  assert.match(page.socket.address, /after=aa\.3$/);
});

test('a page that wakes up asks its socket at once, and cuts a wait short', () => {
  const page = pageOnline();
  page.tick(6000);
  page.fire('pageshow');
  assert.deepEqual(page.socket.sent.at(-1), { type: 'ping' });
  page.fire('focus');
  assert.equal(page.socket.sent.filter(({ type }) => type === 'ping').length, 1, 'once is enough');
  page.tick(4000);
  assert.equal(page.state, 'offline');
  page.fire('online');
  assert.equal(page.underWay, 'socket');
  const sockets = page.sockets.length;
  page.fire('focus');
  assert.equal(page.sockets.length, sockets, 'a try that is under way is left alone');
  page.block();
  page.request.fail();
  page.fire('keydown');
  assert.equal(page.underWay, '', 'a key is no news of the network');
});

test('the network is back while a poll hangs: it is given up, its cursor is not', () => {
  const page = pagePolling();
  page.request.answer(200, answer(1, 2));
  page.fire('online');
  assert.deepEqual([page.request.path, page.request.query.after], ['/v1/messages', 'aa.2']);
  assert.equal(page.requests.length, 3);
});

const SIGNED = 'tab-b.1790000000.dGhpcyBpcyBhIHNpZ25hdHVyZQ';

test('a signed session gets a ticket for each socket', () => {
  const page = new Page({ session: SIGNED });
  assert.deepEqual([page.request.method, page.request.path, page.request.body], ['POST', '/v1/tickets', { session: SIGNED }]);
  page.request.answer(201, { ticket: 't/1', session: 'tab-b', expires_in: 60 });
  assert.equal(page.socket.address, 'ws://relay:8080/v1/ws?session=tab-b&ticket=t%2F1');
  page.welcome();
  page.socket.say(frame(1));
  page.socket.end(1006);
  page.tick(400);
  page.request.answer(201, { ticket: 't2', session: 'tab-b' });
  assert.match(page.socket.address, /&after=aa\.1&ticket=t2$/);
  assert.deepEqual(page.complaints, []);
});

test('an open relay gives tickets too, and there a signed session is a name like any other', () => {
  const page = new Page({ session: SIGNED });
  page.request.answer(201, { ticket: 't', session: SIGNED });
  assert.equal(page.socket.address, `ws://relay:8080/v1/ws?session=${SIGNED}&ticket=t`);
});

test('where sockets are blocked, a signed session polls by its bare name and shows itself in a header', () => {
  const page = new Page({ session: SIGNED });
  page.request.answer(201, { ticket: 't', session: 'tab-b' });
  page.block();
  for (const after of [undefined, 'aa.1']) {
    const { path, query, headers, body } = page.request;
    assert.deepEqual([path, query.session, query.after, headers.Authorization, body], ['/v1/messages', 'tab-b', after, `Bearer ${SIGNED}`, null]);
    assert.ok(!page.request.url.includes(SIGNED), 'credentials stand in no address');
    page.request.answer(200, answer(after ? 2 : 1));
  }
  assert.deepEqual([page.numbers, page.state], [[1, 2], 'polling']);
});

test('without WebSockets at all, a signed session asks for its name, and polls', () => {
  const page = new Page({ session: SIGNED, noSockets: true });
  page.request.answer(201, { ticket: 't', session: 'tab-b' });
  page.request.answer(200, answer(1));
  assert.deepEqual([page.request.path, page.request.query.session, page.numbers], ['/v1/messages', 'tab-b', [1]]);
});

test('a session that is signed anew is taken over with its place in the mailbox', () => {
  const page = new Page({ session: SIGNED });
  page.request.answer(201, { ticket: 't', session: 'tab-b' });
  page.welcome();
  page.socket.say(frame(1, 2));
  const newer = SIGNED.replace('1790000000', '1790009999');
  page.socket.say({ type: 'expiring', in: 59 });
  assert.equal(page.underWay, 'socket', 'there is none yet');
  page.factory.Session.Value = newer;
  page.socket.say({ type: 'expiring', in: 20 });
  assert.deepEqual([page.underWay, page.request.body], ['/v1/tickets', { session: newer }]);
  page.request.answer(201, { ticket: 'u', session: 'tab-b' });
  assert.equal(page.socket.address, 'ws://relay:8080/v1/ws?session=tab-b&after=aa.2&ticket=u');
  page.welcome('aa.2');
  page.socket.say(frame(2, 3));
  assert.deepEqual(page.numbers, [1, 2, 3]);
});

test('a signed session that has expired is shown again seldom, and a newer one at once when the page is used', () => {
  const page = new Page({ session: SIGNED });
  page.request.answer(201, { ticket: 't', session: 'tab-b' });
  page.welcome();
  page.socket.say({ type: 'goodbye', reason: 'expired' });
  page.tick(1000);
  page.request.answer(401, { kind: 'expired' });
  page.request.answer(200, { messages: null, error: true, exception_id: 'InvalidSessionID' });
  assert.equal(page.state, 'offline');
  const before = page.requests.length;
  for (let second = 0; second < 120; second += 1) {
    page.tick(1000);
    if (page.underWay) page.request.answer(page.request.path === '/get' ? 200 : 401, { error: true });
  }
  assert.ok(page.requests.length - before < 20, `${page.requests.length - before} requests in two minutes`);
  page.factory.Session.Value = SIGNED.replace('1790000000', '1790009999');
  page.fire('focus');
  page.request.answer(201, { ticket: 'u', session: 'tab-b' });
  page.welcome();
  assert.equal(page.state, 'websocket');
});

test('a signed session that expires while it polls is looked up anew', () => {
  const page = new Page({ session: SIGNED });
  page.request.answer(201, { ticket: 't', session: 'tab-b' });
  page.block();
  page.request.answer(200, answer(1));
  const newer = SIGNED.replace('1790000000', '1790009999');
  page.factory.Session.Value = newer;
  page.request.answer(401, { kind: 'expired' });
  page.tick(400);
  assert.deepEqual([page.request.path, page.request.body], ['/v1/tickets', { session: newer }]);
});

test('a signed session and a relay without tickets: in without; one that refuses: polling', () => {
  const page = new Page({ session: SIGNED });
  page.request.answer(404, { kind: 'not_found' });
  assert.equal(page.socket.address, `ws://relay:8080/v1/ws?session=${SIGNED}`);
  const refused = new Page({ session: SIGNED });
  refused.request.answer(403, {});
  assert.equal(refused.underWay, '/get');
  assert.equal(refused.request.body.session_src, SIGNED);
});

test('messages that arrive by turns over both: each once, in order', () => {
  const page = new Page();
  const expected = [];
  let [next, sent] = [1, 0];
  for (let round = 0; round < 40; round += 1) {
    const batch = [next, next + 1, next + 2];
    const repeats = sent > 1 ? [sent - 1, sent] : [];
    if (page.underWay === 'socket' && round % 3 !== 2) {
      page.welcome();
      page.socket.say(frame(...repeats, ...batch));
      page.socket.end(1006);
    } else {
      if (page.underWay === 'socket') page.block();
      page.request.answer(200, { ...answer(...batch), messages: messages(...repeats, ...batch) });
      if (page.underWay === '/v1/messages') page.request.fail();
    }
    expected.push(...batch);
    sent = next + 2;
    next += 3;
    page.tick(60_000);
  }
  assert.deepEqual(page.numbers, expected);
});
