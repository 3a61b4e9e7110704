// Receiving by long poll: what works wherever HTTP does.

import { now, pause } from '../time.js';

/** Something in between that answers at once, and with nothing, is not asked more often than this. */
const PACE_MS = 1000;

/** @type {import('./index.js').Way} */
export async function poll({ api, session, cursor, tell, signal, drained, wait }) {
  // The first is answered at once, and shows that the way is open.
  for (let first = true; ; first = false) {
    const start = now();
    const query = { session, after: cursor(), wait: first ? 0 : wait / 1000 };
    const answer = await (await api.call('messages', { signal }, query)).json();
    const { messages, gap, superseded, retry_after } = answer;
    tell({ ...answer, type: 'messages' });
    if (first) tell({ type: 'welcome' });
    if (superseded || retry_after !== undefined) tell({ type: 'goodbye', reason: superseded && 'superseded', retry_after });
    else if (!first && !gap && !messages[0] && now() < start + PACE_MS) await pause(PACE_MS);
    // What the next one says in `after` is acknowledged: all that came is handled first.
    await drained();
    signal.throwIfAborted();
    tell({ type: 'heard' });
  }
}
