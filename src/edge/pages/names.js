// Sessions' names, the page's address, and what this tab remembers.

/** This tab's memory. A browser may forbid it; then a reload forgets. */
export const memory = {
  getItem(key) {
    try {
      return sessionStorage.getItem(key);
    } catch {
      return null;
    }
  },
  setItem(key, value) {
    try {
      sessionStorage.setItem(key, value);
    } catch {
      // forbidden or full
    }
  },
};

const FIRST = 'amber bold brave bright calm clever cosy eager fair fond gentle glad green happy jolly keen kind lively lucky merry mild neat noble proud quick quiet silver snug sunny swift warm wise'.split(' ');
const SECOND = 'badger bear beaver crane crow deer dove duck eagle falcon finch fox goose hare hawk heron ibis koala lark lynx mole moose newt otter owl panda robin seal stork swan wolf wren'.split(' ');

/** A name that is easy to read out, and that nobody else is likely to have. */
export function randomName() {
  const [a, b, c] = crypto.getRandomValues(new Uint32Array(3));
  const tail = (c % 36 ** 4).toString(36).padStart(4, '0');
  return `${FIRST[a % FIRST.length]}-${SECOND[b % SECOND.length]}-${tail}`;
}

/** `#session=…&to=…`. A `+` in it is a plus. */
export function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1).replaceAll('+', '%2B'));
  return { session: said.get('session') || null, to: said.get('to') || null };
}

export function writeAddress(parts) {
  return `#${new URLSearchParams(parts).toString().replaceAll('+', '%20')}`;
}
