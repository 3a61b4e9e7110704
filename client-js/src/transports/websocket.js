// Receiving, and sending, over a WebSocket.

const PROTOCOL = 'x0-relay.v1';

/** @type {import('./index.js').Way} */
export async function websocket({ api, session, after, WebSocket, tell, signal, link }) {
  const ticket = await api.ticket(session, signal);
  signal.throwIfAborted();
  const socket = new WebSocket(api.address('ws', { session, after, ticket }).replace('http', 'ws'), PROTOCOL);
  link.send = (frame) => socket.send(JSON.stringify(frame));
  signal.addEventListener('abort', () => socket.close());
  socket.onmessage = ({ data }) => tell(JSON.parse(data));
  return new Promise((_, reject) => {
    // A browser tells of a handshake that failed by both, Node 20 by an error alone.
    socket.onerror = socket.onclose = (/** @type {any} */ { code = 'error' }) => reject(Error(`WebSocket: ${code}`));
  });
}
