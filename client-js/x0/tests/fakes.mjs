// A page without a browser: the drop-in and x0's stand-in in a context of their own, with a clock that only `tick` moves, and
// sockets and requests that do what the test says.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

const source = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const SOURCES = {
  x0: source('page/x0.js'),
  original: source('page/original.js'),
  dropin: source('../sysAsyncNotifyMsgHandler.js'),
};

class Clock {
  now = 1_700_000_000_000;
  #timers = new Map();
  #next = 1;

  set = (run, ms, ...args) => {
    this.#timers.set(this.#next, { at: this.now + Math.max(0, ms || 0), run: () => run(...args) });
    return this.#next++;
  };
  clear = (id) => void this.#timers.delete(id);

  /** Lets time go by, running what falls due, in order. */
  tick(ms) {
    const until = this.now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= until).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.now = due[1].at;
      due[1].run();
    }
    this.now = until;
  }
}

/** What a page has around its scripts. `options`: original (load x0's own file first), noSockets, start (false: do not). */
export class Page {
  sockets = [];
  requests = [];
  complaints = [];
  states = [];
  clock = new Clock();
  #listeners = new Map();

  constructor({ original = false, noSockets = false, session = 'tab-b', url = 'http://relay:8080/get', start = true } = {}) {
    const page = this;
    const listen = (type, run) => this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), run]);
    class FakeDate extends Date {
      static now = () => page.clock.now;
    }
    class Socket extends FakeSocket {
      constructor(address, protocol) {
        super(address, protocol);
        page.sockets.push(this);
      }
    }
    class Request extends FakeRequest {
      send(body) {
        super.send(body);
        page.requests.push(this);
      }
    }
    this.document = { visibilityState: 'visible', addEventListener: listen };
    this.global = vm.createContext({
      document: this.document,
      location: { protocol: 'https:', host: 'app', href: 'https://app/x0/page.html?a=/b#/c' },
      Date: FakeDate,
      setTimeout: this.clock.set,
      clearTimeout: this.clock.clear,
      XMLHttpRequest: Request,
      CustomEvent: class {
        constructor(type, { detail }) {
          Object.assign(this, { type, detail });
        }
      },
      addEventListener: listen,
      dispatchEvent: ({ type, detail }) => page.states.push(`${type}: ${detail}`),
      console: { error: (...said) => page.complaints.push(said.map(String).join(' ')) },
      ...(noSockets ? {} : { WebSocket: Socket }),
    });
    this.run(SOURCES.x0);
    if (original) this.run(SOURCES.original);
    this.run(SOURCES.dropin);
    this.run(`x0Page.handler = new sysAsyncNotifyMsgHandler(sysFactory);`);
    this.factory.SysConfig.MsgServer.MsgServerGetURL = url;
    this.factory.Session.Value = session;
    if (start) this.handler.getMsg();
  }

  run(script) {
    return vm.runInContext(script, this.global);
  }

  get factory() {
    return this.run('sysFactory');
  }
  get handler() {
    return this.run('x0Page.handler');
  }
  get state() {
    return this.handler.state;
  }
  /** What the page has shown, as plain data of this context. */
  get shown() {
    return JSON.parse(JSON.stringify(this.run('x0Page.shown')));
  }
  /** The numbers `n` of the payloads that it has shown. */
  get numbers() {
    return this.shown.map(({ payload }) => payload.n);
  }

  tick(ms) {
    this.clock.tick(ms);
  }
  fire(type) {
    for (const run of this.#listeners.get(type) ?? []) run({ type });
  }

  /** The one socket that is open or opening. */
  get socket() {
    const live = this.sockets.filter(({ readyState }) => readyState < 2);
    assert.equal(live.length, 1, `${live.length} sockets are open or opening, not one`);
    return live[0];
  }
  /** The one request that waits for an answer. */
  get request() {
    const live = this.requests.filter(({ over }) => !over);
    assert.equal(live.length, 1, `${live.length} requests wait, not one`);
    return live[0];
  }
  /** What is under way, in words: a page must have one receiver at a time. */
  get underWay() {
    const sockets = this.sockets.filter(({ readyState }) => readyState < 2).map(() => 'socket');
    return [...sockets, ...this.requests.filter(({ over }) => !over).map(({ path }) => path)].join(' and ');
  }

  /** Opens the socket that is under way, and makes it welcome. */
  welcome(cursor = 'aa.0') {
    this.socket.open({ type: 'welcome', session: 'tab-b', cursor, window: 256 });
    return this.socket;
  }
  /** Makes the next socket fail, as one that a proxy refuses. */
  block() {
    this.socket.end(1006);
  }
}

class FakeSocket {
  readyState = 0;
  sent = [];

  constructor(address, protocol) {
    Object.assign(this, { address, protocol });
  }
  send(text) {
    assert.equal(this.readyState, 1, 'sent on a socket that is not open');
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }

  open(...frames) {
    this.readyState = 1;
    for (const frame of frames) this.say(frame);
  }
  say(frame) {
    this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }
  end(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
}

class FakeRequest {
  headers = {};
  over = false;
  status = 0;
  responseText = '';

  open(method, url) {
    Object.assign(this, { method, url });
  }
  setRequestHeader(name, value) {
    this.headers[name] = value;
  }
  getResponseHeader(name) {
    return this.answered?.[name] ?? null;
  }
  send(body) {
    this.body = body === null ? null : JSON.parse(body);
  }
  abort() {
    this.over = true;
    this.onloadend?.();
  }

  get path() {
    return this.url.replace(/\?.*$/, '').replace(/^\w+:\/\/[^/]*/, '');
  }
  get query() {
    return Object.fromEntries(new URL(this.url, 'http://relay').searchParams);
  }
  answer(status, body, headers = {}) {
    assert.ok(!this.over, 'answered twice');
    Object.assign(this, { over: true, status, answered: headers });
    this.responseText = typeof body === 'string' ? body : JSON.stringify(body);
    this.onloadend?.();
  }
  /** A refused or broken connection, or the end of its time. */
  fail() {
    this.answer(0, '');
  }
}

/** Messages of protocol v1 with these seqs; the payload says the number. */
export function messages(...seqs) {
  return seqs.map((seq) => message(seq, netMessage({ n: seq })));
}

export function message(seq, payload, id = `id-${seq}`) {
  return { id, seq, from: 'tab-a', type: 'message', ts: 1, payload };
}

export function netMessage(payload, object = 'Text1') {
  return { 'msg-type': 'net-message', 'method-id': 'set-data', 'dst-object': object, payload };
}

/** A frame with these seqs. */
export function frame(...seqs) {
  return { type: 'messages', messages: messages(...seqs), cursor: `aa.${seqs.at(-1)}`, more: false };
}

/** The answer to a poll of protocol v1. */
export function answer(...seqs) {
  return { messages: messages(...seqs), cursor: `aa.${seqs.at(-1) ?? 0}`, more: false };
}
