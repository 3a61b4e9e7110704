// A chat between tabs: each has a session, and sends what is said to the sessions of all others.

import { connect } from '../../client-js/dist/x0-relay.min.js';

const query = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);
const random = () => crypto.getRandomValues(new Uint32Array(2)).join('');

/** What outlives a reload, but not the tab: who this is, whom it knows, what was said. */
const kept = { session: `chat-${random()}`, name: `Guest ${random().slice(-2)}`, others: [], lines: [] };
Object.assign(kept, JSON.parse(sessionStorage.getItem('chat') ?? '{}'));
const keep = () => sessionStorage.setItem('chat', JSON.stringify(kept));

// With a storage, the place in the mailbox and what is not yet sent outlive a reload as well.
const relay = connect(query.get('relay') ?? 'http://127.0.0.1:8080', { session: kept.session, storage: sessionStorage });

/** Nobody reads a chat's line tomorrow: an hour is enough, should a tab be gone. */
const tell = (type, payload) => relay.send(kept.others, payload, { type, ttl: 3600 });

/** Notes who is there. Who learns of somebody tells everybody, so that all know all. */
function meet(sessions) {
  const news = sessions.filter((session) => session !== kept.session && !kept.others.includes(session));
  if (!news.length) return;
  kept.others.push(...news);
  showOthers();
  tell('hello', { sessions: [kept.session, ...kept.others] }).catch(complain);
}

relay.on('message', ({ type, payload }) => {
  if (type === 'hello') meet(payload.sessions);
  else if (type === 'say') addLine(`${payload.name}: ${payload.text}`);
  keep(); // before it is acknowledged, which is when this returns
});
relay.on('gap', ({ from, to, reason }) => addLine(`(${from ? to - from + 1 : 'some'} messages are missing: ${reason})`, 'note'));
relay.on('state', showState);
relay.on('error', complain);

element('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = element('text').value;
  element('text').value = '';
  const line = addLine(`${kept.name}: ${text}`, 'waiting');
  try {
    // Fulfilled when the relay has it; without a connection that may be later.
    if (kept.others.length) await tell('say', { name: kept.name, text });
    line.classList.remove('waiting');
  } catch (error) {
    line.textContent += ` (not sent: ${error.message})`;
  }
});
element('name').addEventListener('change', ({ target }) => {
  kept.name = target.value || kept.name;
  keep();
});
element('take').addEventListener('click', () => relay.resume());

function addLine(text, look) {
  const item = document.createElement('li');
  item.textContent = text;
  if (look) item.className = look;
  element('lines').append(item);
  item.scrollIntoView({ block: 'nearest' });
  kept.lines = [...kept.lines, text].slice(-200);
  keep();
  return item;
}

function showState(state) {
  const words = {
    connecting: 'Connecting …',
    online: `Online, over ${state.transport}.`,
    offline: 'Offline. What you write is sent later.',
    superseded: 'Another tab goes on with this chat.',
  };
  element('state').textContent = words[state.name] ?? state.name;
  element('take').hidden = state.name !== 'superseded';
}

function showOthers() {
  const { length } = kept.others;
  element('others').textContent = length ? `${length} other${length > 1 ? 's are' : ' is'} here` : 'nobody else is here';
}

function complain(error) {
  if (error.code !== 'closed') addLine(`(${error.message})`, 'note');
}

const invitation = new URL(location);
invitation.searchParams.set('with', kept.session);
element('invite').href = invitation;
element('name').value = kept.name;
for (const text of kept.lines.splice(0)) addLine(text);
showState(relay.state);
showOthers();
keep();
if (query.get('with')) meet([query.get('with')]);
