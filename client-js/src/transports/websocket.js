// Receiving, and sending, over a WebSocket.

const PROTOCOL = 'x0-relay.v1';

/** @type {import('./index.js').Way} */
export async function websocket({ api, session, after, WebSocket, tell, signal, link }) {
  const ticket = await api.ticket(session, signal);
  signal.throwIfAborted();
  const socket = new WebSocket(api.url('ws', { session, after, ticket }).replace('http', 'ws'), PROTOCOL);
  link.send = (frame) => socket.send(JSON.stringify(frame));
  signal.addEventListener('abort', () => socket.close());
  socket.onmessage = ({ data }) => tell(JSON.parse(data));
  // What went wrong is told by the close that follows.
  socket.onerror = () => {};
  return new Promise((_, reject) => {
    socket.onclose = ({ code }) => reject(Error(`the WebSocket was closed: ${code}`));
  });
}
