// The page under test: an X0Client that reports all it does to the test through the binding `report`.

'use strict';

/** Starts polling with these X0Client options; `relay` is the base of every URL. */
window.start = ({ relay, getPath = '/get', session }) => {
  window.client = new X0Client({
    session,
    getUrl: relay + getPath,
    setUrl: `${relay}/set`,
    handlerUrl: `${relay}/python/MsgHandler.py`,
    onPoll: (at) => window.report({ kind: 'poll', at }),
    onAnswer: (text, at) => window.report({ kind: 'answer', at, text }),
    // As text: a number such as 1e400 is Infinity here and would not survive the way to the test anyway.
    onMessage: (message) => window.report({ kind: 'message', at: X0Client.now(), message: JSON.stringify(message) }),
    onStop: (reason) => window.report({ kind: 'stop', at: X0Client.now(), reason }),
  });
  window.client.poll();
};
