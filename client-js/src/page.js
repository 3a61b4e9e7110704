// What a page goes through: hidden and shown, put away and taken out again, off the network and back.

/** @typedef {'online' | 'offline' | 'pageshow' | 'pagehide' | 'visibilitychange'} Turn  `visibilitychange`: it is visible */

/** @type {Turn[]} */
const TURNS = ['online', 'offline', 'pageshow', 'pagehide', 'visibilitychange'];

/**
 * Tells of it, where there is a page.
 *
 * @param {(turn: Turn) => void} tell
 * @param {AbortSignal} signal what ends it
 */
export function watchPage(tell, signal) {
  const { document } = globalThis;
  // Some happen to the window, one to the document, and that may come to the window too: to hear it twice does no harm.
  for (const target of [globalThis, document]) {
    for (const turn of TURNS) {
      target?.addEventListener?.(turn, () => (turn !== TURNS[4] || !document.hidden) && tell(turn), { signal });
    }
  }
}
