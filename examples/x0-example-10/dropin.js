// The application with the drop-in: what stands for x0's sysFactory, and what the button sends (x0-client.js).

'use strict';

const query = new URLSearchParams(location.search);
const session = query.get('session') ?? 'tab-a';
const relay = query.get('relay') ?? 'http://127.0.0.1:8080';
const element = (id) => document.getElementById(id);

/** The object that the button's net-messages name: it shows the form. */
const FormlistExchangeData = {
  setData(form, message) {
    const item = document.createElement('li');
    item.textContent = `${message.session_src}: ${form.Text1}`;
    element('received').append(item);
  },
};

// `var`, so that other scripts find it: x0's pages have this one object for everything.
var sysFactory = {
  MsgServerGetURL: `${relay}/get`,
  SYS_SESSION: session,
  getObjectByID: (id) => (id === 'FormlistExchangeData' ? FormlistExchangeData : null),
};

addEventListener('x0-relay-state', (event) => {
  element('receiving').textContent = event.detail;
});
new sysAsyncNotifyMsgHandler(sysFactory).getMsg();

const client = new X0Client({ session, handlerUrl: `${relay}/python/MsgHandler.py` });
element('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { DstUserSession, ...form } = Object.fromEntries(new FormData(event.target));
  const { status, text } = await client.submit(DstUserSession, form);
  const answer = status === 200 ? JSON.parse(text) : { exception: `status ${status}` };
  element('state').textContent = answer.status === 'ok' ? `Sent to ${DstUserSession}.` : `Not sent: ${answer.exception}.`;
});

element('session').textContent = session;
element('form').elements.DstUserSession.value = session === 'tab-a' ? 'tab-b' : 'tab-a';
