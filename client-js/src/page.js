// What a page goes through: hidden and shown, put away and taken out again, off the network and back.

/** @typedef {'wake' | 'visible' | 'sleep'} Turn */

/**
 * Tells of it, where there is a page.
 *
 * @param {(turn: Turn) => void} tell
 * @param {AbortSignal} signal what ends it
 */
export function watchPage(tell, signal) {
  const { document } = globalThis;
  /** @param {EventTarget} target @param {string} name @param {Turn} turn */
  const watch = (target, name, turn) =>
    target?.addEventListener?.(name, () => (turn !== 'visible' || !document.hidden) && tell(turn), { signal });
  watch(globalThis, 'online', 'wake');
  watch(globalThis, 'offline', 'wake');
  watch(globalThis, 'pageshow', 'wake');
  watch(globalThis, 'pagehide', 'sleep');
  watch(document, 'visibilitychange', 'visible');
}
