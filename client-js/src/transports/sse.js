// Receiving server-sent events, by a request of our own: unlike `EventSource` it can show a token, acknowledge what was
// handled and not what was sent, and go by POST, which fewer proxies hold back.

/** @type {import('./index.js').Way} */
export async function sse({ api, session, after, tell, signal, drained }) {
  const { body } = await api.call('events', { body: { session, after, ack: 'explicit' }, signal });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (body).getReader();
  const decoder = new TextDecoder();
  for (let text = ''; ; ) {
    const { value, done } = await reader.read();
    if (done) throw Error('the events ended');
    tell({ type: 'heard' });
    const blocks = (text + decoder.decode(value, { stream: true })).split('\n\n');
    text = /** @type {string} */ (blocks.pop());
    for (const block of blocks) hear(block, tell);
    // No more is read than is handled.
    await drained();
  }
}

/** One event: the relay's own ones have names with a colon. @param {string} block @param {import('./index.js').Tell} tell */
function hear(block, tell) {
  /** @type {Record<string, string>} */
  const field = {};
  for (const line of block.split('\n')) {
    const [name, ...value] = line.split(': ');
    field[name] = value.join(': ');
  }
  const { event, id: cursor, data } = field;
  if (!event) return;
  const said = JSON.parse(data);
  const [type, own] = event.split('relay:');
  if (type) tell({ type: 'messages', messages: [said], cursor });
  else if (own === 'gap') tell({ type: 'messages', gap: said, cursor });
  else tell({ ...said, type: own });
}
