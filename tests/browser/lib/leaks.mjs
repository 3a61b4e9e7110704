// What no log of a relay may show, by its shape: as tests/common/leaks.rs, which says more.

const SHAPES = [
  ['a payload', /\{\\*"|\[123, 34, /],
  ['a token', /eyJ[\w-]{7,}\.[\w-]/],
  ['a signed session', /\.\d{10}\.[\w-]{43}(?![\w-])/],
  ['a ticket or a key', /(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)[\w-]{43}(?![\w-])/],
  ['a bearer', /Bearer [^\s]{16}/],
  ['a private key', /PRIVATE KEY/],
];

/** What leaked into a log, each with its line. */
export function leaks(log) {
  return log.split('\n').flatMap((line) => SHAPES.filter(([, shape]) => shape.test(line)).map(([what]) => `${what}: ${line}`));
}
