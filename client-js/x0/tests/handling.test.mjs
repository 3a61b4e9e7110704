// What a message does to the page: every kind that docs/x0-wire.md lists, in x0's form, one that fails, x0's own handling
// where its file is loaded too, and where the drop-in finds the address and the session.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Page, frame, message, messages, netMessage } from './fakes.mjs';

/** A page that has received these payloads over a socket. */
function pageWith(payloads, options) {
  const page = new Page(options);
  page.welcome();
  const list = payloads.map((payload, at) => message(at + 1, payload));
  page.socket.say({ type: 'messages', messages: list, cursor: `aa.${list.length}`, more: false });
  return page;
}

test('every kind of message does what it asks for', () => {
  const page = pageWith([
    netMessage({ Text1: 'hello' }, 'FormlistExchangeData'),
    { 'msg-type': 'net-phone', 'phonenr-src': '+49 30 1', 'txt-id': 'TXT.CALL' },
    { 'msg-type': 'sys-indicator', 'notify-id': 'Mail', 'notify-status': true },
    { ...netMessage('plain'), 'fire-events': ['A', 'B'], 'switch-screen-id': 'Second' },
  ]);
  assert.deepEqual(page.shown, [
    { did: 'set-data', object: 'FormlistExchangeData', payload: { Text1: 'hello' }, from: 'tab-a' },
    { did: 'phone', number: '+49 30 1', text: 'TXT.CALL', from: 'tab-a' },
    { did: 'indicator', id: 'Mail', status: true, from: 'tab-a' },
    { did: 'set-data', object: 'Text1', payload: 'plain', from: 'tab-a' },
    { did: 'events', events: ['A', 'B'] },
    { did: 'screen', id: 'Second' },
  ]);
  assert.deepEqual(page.complaints, []);
});

test('a message that cannot be handled is complained of; those behind it are handled, and all are acknowledged', () => {
  const page = pageWith([
    netMessage({ n: 1 }, 'Nowhere'),
    { ...netMessage({ n: 2 }), 'method-id': 'constructor' },
    { 'msg-type': 'toString' },
    { hello: 'world' },
    netMessage({ fail: true }),
    netMessage({ n: 6 }),
  ]);
  assert.deepEqual(page.numbers, [6]);
  const complaints = [
    /dst-object: this page has no object "Nowhere"/,
    /method-id is "constructor"; known are set-data/,
    /msg-type is "toString"; known are net-message, net-phone, sys-indicator/,
    /msg-type is undefined/,
    /asked to fail/,
  ];
  assert.equal(page.complaints.length, complaints.length);
  complaints.forEach((pattern, at) => assert.match(page.complaints[at], pattern));
  assert.deepEqual(page.socket.sent, [{ type: 'ack', cursor: 'aa.6' }]);
});

test("any JSON comes in x0's form", () => {
  const page = new Page();
  page.run('seen = []; sysAsyncNotifyMsgHandler.prototype.processMsg = function (m) { seen.push(JSON.stringify(m)); }');
  page.welcome();
  const payloads = [{ a: 1, session_src: 'forged' }, {}, [1, 2], 'text', 0, false, null, JSON.parse('{"__proto__":{"x":1}}')];
  page.socket.say({ type: 'messages', messages: payloads.map((payload, at) => message(at + 1, payload)), cursor: 'aa.8' });
  assert.deepEqual([...page.run('seen')], [
    '{"a":1,"session_src":"tab-a"}',
    '{"session_src":"tab-a"}',
    '{"payload":[1,2],"session_src":"tab-a"}',
    '{"payload":"text","session_src":"tab-a"}',
    '{"payload":0,"session_src":"tab-a"}',
    '{"payload":false,"session_src":"tab-a"}',
    '{"payload":null,"session_src":"tab-a"}',
    '{"__proto__":{"x":1},"session_src":"tab-a"}',
  ]);
});

test('the page may say what stands for a name that it does not have', () => {
  const page = new Page();
  page.run('delete sysFactory.netPhone; delete sysFactory.getObjectByID;');
  page.welcome();
  const phone = { 'msg-type': 'net-phone', 'phonenr-src': '1' };
  page.socket.say({ ...frame(1, 2), messages: [message(1, phone), message(2, netMessage({ n: 2 }))] });
  assert.match(page.complaints[0], /there is no netPhone\(\): say in sysAsyncNotifyMsgHandler\.x0 what stands for it/);
  assert.match(page.complaints[1], /there is no getObjectByID\(\)/);
  page.run(`
    sysAsyncNotifyMsgHandler.x0.kinds['net-phone'] = function (message) { x0Page.note({ rang: message['phonenr-src'] }); };
    sysAsyncNotifyMsgHandler.x0.object = function (id) { return sysFactory.objects[id]; };`);
  page.socket.say({ ...frame(3, 4), messages: [message(3, phone), message(4, netMessage({ n: 4 }))] });
  assert.deepEqual(page.shown, [{ rang: '1' }, { did: 'set-data', object: 'Text1', payload: { n: 4 }, from: 'tab-a' }]);
});

test("callbackXMLRPCAsync takes a poll's answer, as an object or as text", () => {
  const page = new Page({ start: false });
  page.handler.callbackXMLRPCAsync({ messages: [{ ...netMessage({ n: 1 }), session_src: 'tab-a' }] });
  page.handler.callbackXMLRPCAsync(JSON.stringify({ messages: [netMessage({ n: 2 }), netMessage({ fail: 1 }), netMessage({ n: 3 })] }));
  for (const empty of [{ messages: null }, {}, null, undefined, '', 'no JSON']) page.handler.callbackXMLRPCAsync(empty);
  assert.deepEqual(page.numbers, [1, 2, 3]);
  assert.equal(page.underWay, 'socket', 'and it goes on receiving, once');
});

test("x0's own file before this one: its handling stays, and tells address and session, and it never polls", () => {
  const page = new Page({ original: true });
  assert.equal(page.socket.address, 'ws://relay:8080/v1/ws?session=tab-b');
  assert.deepEqual(page.requests, []);
  assert.equal(page.handler.ScreenOrWhatever, page.factory, 'its constructor has run');
  page.welcome();
  const payloads = [{ payload: { n: 1 } }, { payload: { fail: true } }, {}, { payload: { n: 4 } }];
  page.socket.say({ ...frame(4), messages: payloads.map((payload, at) => message(at + 1, payload)) });
  assert.deepEqual(page.shown, [1, 4].map((n) => ({ did: "x0's own", payload: { n }, from: 'tab-a' })));
  assert.equal(page.complaints.length, 2, 'two that it could not handle');
  page.socket.end(1006);
  page.tick(1000);
  page.block();
  assert.equal(page.request.path, '/v1/messages', 'it polls by itself');
});

test("x0's own file, on a page that does not poll yet", () => {
  const page = new Page({ original: true, session: '' });
  assert.equal(page.state, 'offline');
  page.factory.Session.Value = 'tab-b';
  page.tick(1000);
  assert.equal(page.socket.address, 'ws://relay:8080/v1/ws?session=tab-b');
});

test('the file, loaded twice, is loaded once', () => {
  const page = new Page();
  const first = page.run('sysAsyncNotifyMsgHandler.x0');
  page.run(readFileSync(new URL('../sysAsyncNotifyMsgHandler.js', import.meta.url), 'utf8'));
  assert.equal(page.run('sysAsyncNotifyMsgHandler.x0'), first);
});

test('the address: with a path, relative, over https, or the default', () => {
  const addresses = {
    'http://relay:8080': 'ws://relay:8080/v1/ws',
    'http://relay:8080/': 'ws://relay:8080/v1/ws',
    'http://relay:8080/get': 'ws://relay:8080/v1/ws',
    'https://app/msg/get?x=/y': 'wss://app/msg/v1/ws',
    'http://relay/python/MsgHandler.py': 'ws://relay/v1/ws',
    'HTTP://relay/a/python/MsgHandler.py': 'ws://relay/a/v1/ws',
    '//relay/get': 'wss://relay/v1/ws',
    '/relay/get': 'wss://app/relay/v1/ws',
    'relay/get': 'wss://app/x0/relay/v1/ws',
    '': 'ws://x0-msg-server.x0.localnet:8080/v1/ws',
  };
  for (const [url, socket] of Object.entries(addresses)) {
    assert.equal(new Page({ url }).socket.address, `${socket}?session=tab-b`, url);
  }
});

test('the session: wherever x0 keeps it; looked for until there is one; a new one begins anew', () => {
  for (const holder of ['{ SYS_SESSION: "s" }', '{ SysSessionValue: "s" }', '{ deep: { er: { SessionID: "s" } } }']) {
    const page = new Page({ session: '', start: false });
    page.run(`sysFactory.more = ${holder}; sysFactory.loop = sysFactory;`);
    page.run('Object.defineProperty(sysFactory, "a", { enumerable: true, get: function () { throw new Error("not for you"); } })');
    page.handler.getMsg();
    assert.equal(page.socket.address, 'ws://relay:8080/v1/ws?session=s', holder);
  }
  const page = new Page({ session: '' });
  assert.equal(page.underWay, '', 'nothing is asked for nobody');
  assert.equal(page.state, 'offline');
  page.factory.Session.Value = 'a b&c=ä/.1';
  page.tick(1000);
  assert.equal(page.socket.address, 'ws://relay:8080/v1/ws?session=a%20b%26c%3D%C3%A4%2F.1');
  page.welcome();
  page.socket.say(frame(1, 2));
  page.factory.Session.Value = 'other';
  page.tick(20_000);
  assert.equal(page.socket.address, 'ws://relay:8080/v1/ws?session=other', "no cursor of the old session's");
  page.welcome('bb.0');
  page.socket.say({ ...frame(1), messages: messages(1).map((m) => ({ ...m, id: 'other-1' })) });
  assert.deepEqual(page.numbers, [1, 2, 1]);
});

test('the script is ES5', () => {
  const source = readFileSync(new URL('../sysAsyncNotifyMsgHandler.js', import.meta.url), 'utf8');
  const code = source.replace(/\/\*[^]*?\*\/|\/\/.*$|'(?:\\.|[^'\\\n])*'/gm, '');
  assert.doesNotMatch(code, /=>|`|\b(?:let|const|class|async|await|import|export)\b|\.\.\.|\?\?|\?\.\w/);
  assert.match(code, /\bvar state\b/, 'there is code left to look at');
});
