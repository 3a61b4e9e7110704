// What a page goes through: hidden and shown, put away and taken out again, off the network and back.

/** @typedef {'wake' | 'network' | 'visible' | 'sleep'} Turn */

/** @type {Record<string, Turn>} */
const TURNS = {
  online: 'network',
  offline: 'wake',
  pageshow: 'wake',
  pagehide: 'sleep',
  resume: 'wake',
  visibilitychange: 'visible',
};

/**
 * Tells of it, where there is a page.
 *
 * @param {(turn: Turn) => void} tell
 * @param {AbortSignal} signal what ends it
 */
export function watchPage(tell, signal) {
  const { document } = globalThis;
  // Some happen to the window, some to the document, and those may come to the window too: to hear twice does no harm.
  for (const target of [globalThis, document]) {
    for (const name in TURNS) {
      const turn = TURNS[name];
      target?.addEventListener?.(name, () => (turn !== 'visible' || !document.hidden) && tell(turn), { signal });
    }
  }
}
