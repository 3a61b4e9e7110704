// The page's work: it polls as x0's pages do, except that it never stops, shows messages as they came, and sends.

const element = (id) => document.getElementById(id);

/** The longest a poll may take: the relay waits a minute at most. */
const POLL_WITHIN_MS = 75_000;
const SEND_WITHIN_MS = 30_000;
/** Pauses after failures are drawn from 0 to a bound that doubles from the first to the last of these. */
const PAUSE_FIRST_MS = 500;
const PAUSE_LAST_MS = 15_000;
/** An empty answer that comes sooner than this is not asked for again at once. */
const ROUND_MIN_MS = 250;
/** How many messages stay on the page. */
const SHOWN_MAX = 200;
const WAITING = 'Waiting for mail.';

// ---- The session, and what is remembered of it

/** This tab's memory. A browser may forbid it; then a reload forgets. */
function recall(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // forbidden or full
  }
}

const FIRST = 'amber bold brave bright calm clever cosy eager fair fond gentle glad green happy jolly keen kind lively lucky merry mild neat noble proud quick quiet silver snug sunny swift warm wise'.split(' ');
const SECOND = 'badger bear beaver crane crow deer dove duck eagle falcon finch fox goose hare hawk heron ibis koala lark lynx mole moose newt otter owl panda robin seal stork swan wolf wren'.split(' ');

/** A name that is easy to read out, and that nobody else is likely to have. */
function randomName() {
  const [a, b, c] = crypto.getRandomValues(new Uint32Array(3));
  const tail = (c % 36 ** 4).toString(36).padStart(4, '0');
  return `${FIRST[a % FIRST.length]}-${SECOND[b % SECOND.length]}-${tail}`;
}

/** `#session=…&to=…`. A `+` in it is a plus. */
function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1).replaceAll('+', '%2B'));
  return { session: said.get('session') || null, to: said.get('to') || null };
}

function writeAddress(parts) {
  return `#${new URLSearchParams(parts).toString().replaceAll('+', '%20')}`;
}

let session = '';

/** Takes on a session; the poll for the one before ends. */
function become(name, to) {
  const before = session;
  session = name;
  remember('session', name);
  element('session').value = name;
  document.title = `${name} · x0-relay`;
  // Until there is somebody else, one can talk to oneself.
  if (to !== null || element('to').value === before) sendTo(to ?? name);
  // The address goes with the session, if it names one.
  if (location.hash !== '') history.replaceState(null, '', writeAddress({ session: name }));
  showCurl();
  poll.restart();
}

function sendTo(to) {
  element('to').value = to;
  remember('to', to);
}

// ---- Asking the relay

/** Why there is no good answer. `heard`: the relay itself has said no. */
class Trouble extends Error {
  constructor(words, heard) {
    super(words);
    this.heard = heard;
  }
}

/** Asks the relay, POST if there is a body. Resolves with the answer's text and value; rejects with {@link Trouble}, or with what `turn` was aborted with. */
async function ask(path, body, within, turn = new AbortController()) {
  const late = setTimeout(() => turn.abort(new Trouble('The relay does not answer', false)), within);
  try {
    const { signal } = turn;
    const post = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body };
    const response = await fetch(path, { ...(body === undefined ? {} : post), signal, cache: 'no-store' });
    const text = await response.text();
    return { text, value: understood(response.status, text) };
  } catch (error) {
    if (turn.signal.aborted) throw turn.signal.reason;
    throw error instanceof Trouble ? error : new Trouble('The relay is away', false);
  } finally {
    clearTimeout(late);
  }
}

function understood(status, text) {
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    // told below
  }
  if (value?.error === true) throw new Trouble(`${value.exception}: ${value.detail}`, true);
  if (status !== 200 || typeof value !== 'object' || value === null) {
    throw new Trouble(`What answers here is not the relay (status ${status})`, false);
  }
  return value;
}

// ---- Receiving

/** Where the poll loop stands. Whatever it waits for can be cut short. */
const poll = {
  away: false,
  failures: 0,
  turn: new AbortController(),
  wake() {},
  /** Begins anew, with the session as it is now. */
  restart() {
    this.failures = 0;
    if (!this.away) tell('state', 'waiting', WAITING);
    this.turn.abort(this);
    this.wake();
  },
};

/** Polls for good. */
async function receive() {
  for (;;) {
    poll.turn = new AbortController();
    try {
      if (poll.away) {
        // A poll would wait for mail before it tells that the relay is back.
        await ask('healthz', undefined, SEND_WITHIN_MS, poll.turn);
        poll.away = false;
        tell('state', 'waiting', WAITING);
      }
      const asked = performance.now();
      const body = JSON.stringify({ session_src: session, type: 'GET' });
      const { text } = await ask('get', body, POLL_WITHIN_MS, poll.turn);
      const messages = messagesOf(text);
      messages.forEach(show);
      poll.failures = 0;
      tell('state', 'waiting', WAITING);
      if (messages.length === 0) await pause(asked + ROUND_MIN_MS - performance.now());
    } catch (reason) {
      if (reason !== poll) await backOff(reason);
    }
  }
}

/** Says what is wrong, and waits: full jitter, so that a relay that comes back is not met by everybody at once. */
async function backOff(reason) {
  if (!(reason instanceof Trouble)) console.error(reason);
  poll.away = !reason.heard;
  tell('state', 'trouble', `${reason.message}${poll.away ? ', trying' : '. Trying'} again`);
  const bound = Math.min(PAUSE_LAST_MS, PAUSE_FIRST_MS * 2 ** poll.failures);
  poll.failures += 1;
  await pause(Math.random() * bound, (left) => {
    element('countdown').textContent = ` in ${Math.ceil(left / 1000)} s`;
  });
  element('countdown').textContent = '';
}

/** Waits, or until woken; tells `tick` how many milliseconds are left. */
function pause(ms, tick = () => {}) {
  const end = performance.now() + ms;
  return new Promise((resolve) => {
    const look = () => {
      const left = end - performance.now();
      if (left <= 0) return done();
      tick(left);
      timer = setTimeout(look, Math.min(left, 250));
    };
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    let timer;
    poll.wake = done;
    look();
  });
}

/** The messages of an answer, each as the text that it came as: parsing and writing would change numbers such as 1e400. */
function messagesOf(answer) {
  const members = partsOf(answer);
  const at = members.findLastIndex((text, index) => index % 2 === 0 && JSON.parse(text) === 'messages');
  return at >= 0 && members[at + 1].startsWith('[') ? partsOf(members[at + 1]) : [];
}

/** The texts of an array's elements, or of an object's keys and values in turn; `json` is known to be one of them. */
function partsOf(json) {
  const parts = [];
  let [depth, from] = [0, 0];
  for (const { 0: token, index } of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}:,]/g)) {
    if (token === '[' || token === '{') {
      depth += 1;
      if (depth === 1) from = index + 1;
    } else if (token === ']' || token === '}') {
      depth -= 1;
      if (depth === 0) parts.push(json.slice(from, index).trim());
    } else if (depth === 1 && (token === ',' || token === ':')) {
      parts.push(json.slice(from, index).trim());
      from = index + 1;
    }
  }
  return parts.filter((text) => text !== '');
}

let arrived = 0;

/** Puts a message on top of the list. */
function show(raw) {
  const now = new Date();
  const item = element('message').content.cloneNode(true).firstElementChild;
  item.value = ++arrived;
  item.querySelector('bdi').textContent = JSON.parse(raw)?.session_src ?? 'nobody';
  item.querySelector('time').textContent = now.toLocaleTimeString();
  item.querySelector('time').dateTime = now.toISOString();
  const text = item.querySelector('pre');
  text.textContent = raw;
  const list = element('arrived');
  list.prepend(item);
  // What scrolls must be in reach of the keyboard.
  if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
  if (list.childElementCount > SHOWN_MAX) list.lastElementChild.remove();
  element('nothing').hidden = true;
  // On a phone the list is further down. The list itself tells those who listen.
  element('count').textContent = `${arrived} arrived.`;
}

// ---- Sending

/** One after the other, so that they arrive in the order in which they were sent. */
let sending = Promise.resolve();

async function send(to, payload) {
  // Written by hand, so that the payload stays as it is; it is known to be one JSON value.
  const names = `"session_src":${JSON.stringify(session)},"session_dst":${JSON.stringify(to)}`;
  tell('sent', 'waiting', 'Sending …');
  try {
    await ask('set', `{"type":"SET",${names},"payload":${payload}}`, SEND_WITHIN_MS);
    tell('sent', 'good', `Sent to ${to} at ${new Date().toLocaleTimeString()}.`);
  } catch (reason) {
    const doubt = reason.heard ? 'Not sent' : 'Perhaps not sent';
    tell('sent', 'trouble', `${doubt}. ${reason.message}.`);
  }
}

function trySend() {
  const [to, payload] = [element('to').value, element('payload').value];
  try {
    JSON.parse(payload);
  } catch (error) {
    return tell('sent', 'trouble', `Not sent. The message is not JSON: ${error.message}.`);
  }
  sending = sending.then(() => send(to, payload));
}

// ---- Words

/** Says something in one of the status lines; the same again is not said again. */
function tell(id, mood, words) {
  const line = element(id);
  line.dataset.mood = mood;
  if (line.textContent !== words) line.textContent = words;
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
element('session').addEventListener('change', () => become(element('session').value, null));
element('to').addEventListener('change', () => remember('to', element('to').value));
element('second').addEventListener('click', () => {
  const other = randomName();
  sendTo(other);
  window.open(writeAddress({ session: other, to: session }), '_blank', 'noopener');
});
element('send').addEventListener('submit', (event) => {
  event.preventDefault();
  trySend();
});
element('payload').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) trySend();
});
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
  if (name !== null) become(name, to);
});
// Whoever looks at the page again, or is connected again, need not wait for the pause to end.
addEventListener('online', () => poll.wake());
addEventListener('visibilitychange', () => document.hidden || poll.wake());

const said = readAddress();
become(said.session ?? recall('session') ?? randomName(), said.to ?? recall('to'));
receive();
