// The page's work: a session over whichever transport is chosen, sending, and telling what comes of it.

import { createAccount, shortMemory } from './account.js';
import { isSigned, sessionFor } from './credentials.js';
import { memory, randomName, readAddress, writeAddress } from './names.js';
import { memberOf, parse, standIn } from './raw.js';
import { createWire } from './wire.js';
import { connectX0 } from './x0.js';
import { connect } from './x0-relay.js';

const element = (id) => document.getElementById(id);

/** How many messages, and how much of the wire, stay on the page. */
const SHOWN_MAX = 200;
const PASSED_MAX = 100;
const PASSED_CHARACTERS = 4000;
const TO_THE_MILLISECOND = { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 };
const STREAM_MS = 1000;
/** What a client asked that was closed may still reach the relay for so long, and send its successor away. */
const GHOST_MS = 10_000;
const DRAW_MS = 250;
const WORDS = { websocket: 'WebSocket', sse: 'an event stream', poll: 'long poll', x0: 'x0’s polling' };

let session = '';
let client = null;
/** What shows who this is, if the relay asks. It is kept nowhere else. */
let token = '';
/** Events of a client that was closed count no more. */
let turn = 0;
let state = { name: 'connecting' };
/** Until then who sends this client away is most likely its own forerunner: it comes back, once. */
let ghostUntil = 0;
/** Whether it speaks x0's own wire, and not protocol v1. */
let onX0 = false;

const account = createAccount(accepted);
const wire = createWire((passed) => {
  account.see(passed);
  noteWire(passed);
  draw();
});

// ---- The session and its transport

const transport = () => document.querySelector('[name=transport]:checked').value;

/** Begins anew, with the session and the transport as they are now; what is not sent yet goes with the next client. */
function join(choice = transport()) {
  const mine = ++turn;
  const live = (act) => (event) => mine === turn && act(event);
  ghostUntil = client === null ? 0 : Date.now() + GHOST_MS;
  client?.close();
  state = { name: 'connecting' };
  const { fetch, WebSocket } = wire;
  onX0 = choice === 'x0';
  if (onX0) {
    const shown = isSigned(token) ? token : session;
    client = connectX0(shown, { fetch: shown === session ? withToken(fetch) : fetch, onMessage: live(showX0), onState: live(become) });
  } else {
    const transports = choice === 'auto' ? undefined : [choice];
    client = connect('.', { session, token: token || undefined, transports, storage: memory, fetch, WebSocket });
    client.on('message', live(show));
    client.on('gap', live(showGap));
    client.on('state', live(become));
    client.on('error', live(failed));
  }
  draw();
}

/** Shows the token, if there is one. */
const withToken = (ask) => (url, init) =>
  ask(url, token ? { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } } : init);

/** Takes on a session. */
function be(name, to) {
  const before = session;
  session = name;
  memory.setItem('session', name);
  element('session').value = name;
  document.title = `${name} · x0-relay`;
  // Until there is somebody else, one can talk to oneself.
  if (to !== null || element('to').value === before) sendTo(to ?? name);
  // The address goes with the session, if it names one.
  if (location.hash !== '') history.replaceState(null, '', writeAddress({ session: name }));
  showCurl();
  join();
}

function sendTo(to) {
  element('to').value = to;
  memory.setItem('to', to);
}

function become(next) {
  state = next;
  // A gateway has x0's wire alone.
  if (!onX0 && next.error?.status === 404 && transport() === 'auto') return join('x0');
  if (next.name === 'superseded' && Date.now() < ghostUntil) {
    ghostUntil = 0;
    client.resume();
  }
  draw();
}

function stateInWords() {
  const { name, error } = state;
  if (!wire.whole) return ['trouble', 'You have cut the connection.'];
  if (name === 'online') return ['good', `Connected over ${WORDS[state.transport]}.`];
  if (name === 'superseded') return ['trouble', 'Another tab, or another program, receives for this session now.'];
  if (name !== 'offline') return ['waiting', 'Connecting …'];
  if (error?.status === 401 && token === '') return ['trouble', 'The relay asks who you are: enter a token under Access.'];
  if (error?.status === 401) return ['trouble', `The relay does not take what is under Access: ${error.message}`];
  if (error?.status === 404) return ['trouble', 'There is no protocol v1 here: choose x0’s polling.'];
  if (error?.code === 'refused' || error?.heard) return ['trouble', `The relay refuses: ${error.message}`];
  return ['trouble', 'The relay is away.'];
}

function countdown() {
  if (!wire.whole || state.name !== 'offline') return '';
  const left = Math.ceil(((state.nextTry ?? 0) - Date.now()) / 1000);
  return left > 0 ? `Trying again in ${left} s.` : 'Trying again …';
}

/** Brings everything on the page that follows from the state up to date. */
function draw() {
  tell('state', ...stateInWords());
  put('countdown', countdown());
  if (state.error?.status === 401 && token === '') element('access').open = true;
  element('resume').hidden = !wire.whole || state.name !== 'superseded';
  put('cut', wire.whole ? 'Cut the connection' : 'Mend the connection');
  put('cursor', client?.cursor ?? (onX0 ? 'this wire has none' : 'none yet'));
  const { sent, accepted, refused, again, received, repeated, missing, forgotten } = account.counts;
  put('n-sent', sent);
  put('n-accepted', accepted);
  put('n-waiting', sent - accepted - refused);
  put('n-again', again);
  put('n-received', received);
  put('n-repeated', repeated);
  put('n-missing', forgotten > 0 ? `${missing}, or more` : missing);
  element('n-missing').dataset.mood = missing + forgotten > 0 ? 'trouble' : 'waiting';
}

// ---- Receiving

let arrived = 0;

/** A message of protocol v1: its payload as the text that it came as. */
function show({ id, seq, from, type, ts, payload }) {
  const raw = account.rawOf(id);
  const text = (raw && memberOf(raw, 'payload')) ?? JSON.stringify(payload);
  const about = `#${seq}${type === 'message' ? '' : `, ${type}`}`;
  const item = list({ from, about, when: new Date(ts), text });
  receipts.set(id, { at: clock(), item });
  learn(id);
}

function showX0(raw) {
  list({ from: parse(raw)?.session_src ?? '', about: '', when: new Date(), text: raw });
}

/** Puts a message on top of the list. */
function list({ from, about, when, text }) {
  account.received();
  const item = element('message').content.cloneNode(true).firstElementChild;
  item.value = ++arrived;
  item.querySelector('bdi').textContent = from || 'nobody';
  item.querySelector('.about').textContent = about;
  const time = item.querySelector('time');
  time.textContent = when.toLocaleTimeString();
  time.dateTime = when.toISOString();
  const pre = item.querySelector('pre');
  pre.textContent = text;
  place(item, pre);
  return item;
}

function showGap(gap) {
  account.gap(gap);
  const item = element('gap').content.cloneNode(true).firstElementChild;
  item.value = arrived;
  item.querySelector('p').textContent = gapInWords(gap);
  place(item);
}

const REASONS = {
  expired: 'their time was up',
  purged: 'somebody emptied the mailbox',
  overflow: 'they made room for newer ones',
  taken: 'another receiver of this session has them',
};

function gapInWords({ from, to, reason }) {
  if (to === null) return 'The relay has begun anew and no longer has what was in this mailbox before.';
  const which = from === to ? `Number ${from} is` : `Numbers ${from} to ${to} are`;
  return `${which} missing: ${REASONS[reason] ?? 'the relay does not say why'}.`;
}

function place(item, pre) {
  const all = element('arrived');
  all.prepend(item);
  // What scrolls must be in reach of the keyboard.
  if (pre && pre.scrollHeight > pre.clientHeight) pre.tabIndex = 0;
  if (all.childElementCount > SHOWN_MAX) all.lastElementChild.remove();
  element('nothing').hidden = true;
  draw();
}

// ---- From send to receipt: this browser's tabs tell each other when they sent and received, by one clock

const receipts = shortMemory(1000);
const sends = shortMemory(1000);
const tabs = globalThis.BroadcastChannel && new BroadcastChannel('x0-relay times');
const clock = () => performance.timeOrigin + performance.now();
let last = {};

/** The relay has a message of ours. */
function accepted({ id, at, to }) {
  sends.set(id, at);
  tabs?.postMessage({ id, at });
  last = { id, words: `Sent to ${to} at ${new Date().toLocaleTimeString()}` };
  tell('sent', 'good', `${last.words}.`);
  learn(id);
}

/** Tells how long a message took, if both ends are known here. */
function learn(id) {
  const [sent, receipt] = [sends.get(id), receipts.get(id)];
  if (sent === undefined || receipt === undefined) return;
  const ms = Math.max(0, receipt.at - sent);
  receipt.item.querySelector('.latency').textContent = spell(ms);
  put('latency', spell(ms));
  receipts.delete(id);
  tabs?.postMessage({ id, ms });
  receivedThere(id, ms);
}

function receivedThere(id, ms) {
  if (id !== last.id) return;
  put('latency', spell(ms));
  tell('sent', 'good', `${last.words}, received there after ${spell(ms)}.`);
}

const spell = (ms) => (ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

tabs?.addEventListener('message', ({ data: { id, at, ms } }) => {
  if (ms !== undefined) return receivedThere(id, ms);
  sends.set(id, at);
  learn(id);
});

// ---- Sending

const randomKey = () => crypto.getRandomValues(new Uint8Array(16)).join('-');

/** Sends what was typed, as it was typed. */
function send(typed) {
  const to = element('to').value;
  try {
    JSON.parse(typed);
  } catch (error) {
    return tell('sent', 'trouble', `Not sent. The message is not JSON: ${error.message}.`);
  }
  const key = randomKey();
  account.sending(key, to, clock());
  const away = !wire.whole || state.name === 'offline';
  tell('sent', 'waiting', away && !onX0 ? 'It is sent as soon as there is a connection.' : 'Sending …');
  const mine = turn;
  const options = onX0 ? [to, typed] : [`session:${to}`, standIn(typed), { key }];
  client.send(...options).then(
    // What the relay accepts in protocol v1 is seen on the wire, also if it went with a later client.
    (sent) => sent === undefined && account.accepted(key, { id: key }),
    (error) => mine === turn && error.code !== 'closed' && failed(error, key),
  );
  draw();
}

/** A message is not sent, or not for sure; or something else failed. */
function failed(error, key = error.sent?.key) {
  if (key === undefined) return tell('sent', 'trouble', `${error.message}.`);
  account.refused(key);
  const doubt = error.code === 'uncertain' ? 'Perhaps not sent' : 'Not sent';
  tell('sent', 'trouble', `${doubt}. ${error.message.replace(/\.$/, '')}.`);
  draw();
}

let streaming;
let streamed = 0;

function toggleStream() {
  clearInterval(streaming);
  streaming = streaming === undefined ? setInterval(() => send(`{"n":${++streamed}}`), STREAM_MS) : undefined;
  element('stream').ariaPressed = streaming !== undefined;
}

// ---- The wire

/** What lets somebody in is not shown. */
const SECRETS = /("(?:token|ticket)"\s*:\s*)"[^"]*"/g;

function noteWire({ out, way, text }) {
  const item = element('pass').content.cloneNode(true).firstElementChild;
  const now = new Date();
  item.querySelector('span').textContent = `${out ? '→' : '←'} ${way}, ${out ? 'to the relay' : 'from the relay'}`;
  item.querySelector('time').textContent = now.toLocaleTimeString(undefined, TO_THE_MILLISECOND);
  const shown = (token ? text.replaceAll(token, '…') : text).replace(SECRETS, '$1"…"');
  const more = shown.length - PASSED_CHARACTERS;
  item.querySelector('pre').textContent = more > 0 ? `${shown.slice(0, PASSED_CHARACTERS)} … and ${more} more` : shown;
  const all = element('passed');
  all.prepend(item);
  if (all.childElementCount > PASSED_MAX) all.lastElementChild.remove();
}

// ---- Words

/** Writes a text if it is another than before. */
function put(id, text) {
  const line = element(id);
  if (line.textContent !== String(text)) line.textContent = text;
}

/** Says something in one of the status lines. */
function tell(id, mood, words) {
  element(id).dataset.mood = mood;
  put(id, words);
}

/** An argument for the shell, whatever is in it. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showCurl() {
  const url = (path) => quoted(new URL(path, document.baseURI).href);
  const set = { session_src: 'terminal', session_dst: session, payload: { hello: 'from curl' } };
  element('curl-set').textContent = `curl ${url('set')} -d ${quoted(JSON.stringify(set))}`;
  element('curl-get').textContent = `curl ${url('get')} -d ${quoted(JSON.stringify({ type: 'GET', session_src: 'terminal' }))}`;
}

// ---- Here it begins

element('me').addEventListener('submit', (event) => event.preventDefault());
element('session').addEventListener('change', () => be(element('session').value || randomName(), null));
element('token').addEventListener('change', () => {
  token = element('token').value.trim();
  const name = token === '' ? session : sessionFor(token, session);
  if (name === session) join();
  else be(name, null);
});
element('to').addEventListener('change', () => memory.setItem('to', element('to').value));
element('second').addEventListener('click', () => {
  const other = randomName();
  sendTo(other);
  window.open(writeAddress({ session: other, to: session }), '_blank', 'noopener');
});
element('cut').addEventListener('click', () => {
  if (wire.whole) wire.cut();
  else {
    wire.mend();
    client.resume();
  }
  draw();
});
element('resume').addEventListener('click', () => client.resume());
element('transports').addEventListener('change', () => {
  memory.setItem('transport', transport());
  join();
});
element('send').addEventListener('submit', (event) => {
  event.preventDefault();
  send(element('payload').value);
});
element('payload').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send(element('payload').value);
});
element('stream').addEventListener('click', toggleStream);
for (const button of document.querySelectorAll('[data-copy]')) {
  // Browsers have a clipboard only for pages from this machine or over TLS.
  button.hidden = !navigator.clipboard;
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(element(button.dataset.copy).textContent);
      tell('copied', 'good', 'Copied.');
    } catch {
      tell('copied', 'trouble', 'The browser does not allow copying.');
    }
  });
}
addEventListener('hashchange', () => {
  const { session: name, to } = readAddress();
  if (name !== null) be(name, to);
});
addEventListener('online', () => client.resume());

const chosen = document.querySelector(`[name=transport][value="${memory.getItem('transport')}"]`);
if (chosen) chosen.checked = true;
const said = readAddress();
be(said.session ?? memory.getItem('session') ?? randomName(), said.to ?? memory.getItem('to'));
setInterval(draw, DRAW_MS);
