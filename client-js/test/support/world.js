// A world with its own time and its own chance: timers fire when the test says, and every run with the same seed is the
// same run.

/** Small, quick and good enough (mulberry32). @param {number} seed @returns {() => number} from 0 to 1 */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class World {
  /** @param {number} [seed] */
  constructor(seed = 1) {
    this.random = chance(seed);
    this.now = 1_780_000_000_000;
    /** @type {{ at: number, id: number, run: () => void }[]} */
    this.timers = [];
    this.ids = 0;
  }

  /** A number from `least` to `most`. @param {number} least @param {number} most */
  between(least, most) {
    return least + this.random() * (most - least);
  }

  /** @template T @param {readonly T[]} items @returns {T} */
  pick(items) {
    return items[Math.floor(this.random() * items.length)];
  }

  /** @param {() => void} run @param {number} [ms] */
  setTimeout(run, ms = 0) {
    const id = ++this.ids;
    this.timers.push({ at: this.now + Math.max(0, ms), id, run });
    return id;
  }

  /** @param {number} id */
  clearTimeout(id) {
    this.timers = this.timers.filter((timer) => timer.id !== id);
  }

  /** Lets everything happen that is due at once: what promises wait for, and streams. */
  async settle() {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  /**
   * Lets time pass, timer by timer.
   *
   * @param {number} ms @param {() => unknown} [until] ends it early when it is true
   * @returns {Promise<boolean>} whether `until` came true
   */
  async pass(ms, until = () => false) {
    const end = this.now + ms;
    for (;;) {
      await this.settle();
      if (until()) return true;
      const next = this.timers.reduce((one, other) => (!one || other.at < one.at || (other.at === one.at && other.id < one.id) ? other : one), /** @type {any} */ (undefined));
      if (!next || next.at > end) break;
      this.timers.splice(this.timers.indexOf(next), 1);
      this.now = Math.max(this.now, next.at);
      next.run();
    }
    this.now = Math.max(this.now, end);
    return false;
  }

  /** The machine sleeps: time goes on, no timer fires, and afterwards all that are due are late. @param {number} ms */
  sleep(ms) {
    this.now += ms;
  }
}
