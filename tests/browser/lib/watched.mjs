// Something that reports what happens to it, and those who wait until it is so.

export class Watched {
  #waiting = new Set();

  /** Something has happened: those who wait look again. */
  look() {
    for (const check of this.#waiting) check();
  }

  /** Resolves when something happens. */
  changed() {
    return new Promise((resolve) => {
      const check = () => {
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
    });
  }

  /** Resolves as soon as `condition(this)` holds, looking again whenever something has happened. */
  until(what, condition, deadline = 30_000) {
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        settle(value);
      };
      const check = () => condition(this) && end(resolve);
      const timer = setTimeout(() => end(reject, new Error(`not within ${deadline} ms: ${what}; the tab: ${this}`)), deadline);
      this.#waiting.add(check);
      check();
    });
  }
}
