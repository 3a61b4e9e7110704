// The application: what it does with a net-message, and what its button sends. All talk is in x0-client.js.

'use strict';

const query = new URLSearchParams(location.search);
const session = query.get('session') ?? 'tab-a';
const relay = query.get('relay') ?? 'http://127.0.0.1:8080';
const element = (id) => document.getElementById(id);

const client = new X0Client({
  session,
  getUrl: `${relay}/get`,
  setUrl: `${relay}/set`,
  handlerUrl: `${relay}/python/MsgHandler.py`,
  onMessage: receive,
  onStop: (reason) => {
    element('state').textContent = `Polling has ended (${reason}). Reload the page to go on.`;
  },
});

/** A net-message of the form button carries the sender's form in `payload`. */
function receive(message) {
  const known = message['msg-type'] === 'net-message' && message['dst-object'] === 'FormlistExchangeData';
  if (!known) throw new Error(`no object ${message['dst-object']} for ${message['msg-type']} on this page`);
  const item = document.createElement('li');
  item.textContent = `${message.session_src}: ${message.payload.Text1}`;
  element('received').append(item);
}

element('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { DstUserSession, ...form } = Object.fromEntries(new FormData(event.target));
  const { status, text } = await client.submit(DstUserSession, form);
  const answer = status === 200 ? JSON.parse(text) : { exception: `status ${status}` };
  element('state').textContent = answer.status === 'ok' ? `Sent to ${DstUserSession}.` : `Not sent: ${answer.exception}.`;
});

element('session').textContent = session;
element('form').elements.DstUserSession.value = session === 'tab-a' ? 'tab-b' : 'tab-a';
client.poll();
