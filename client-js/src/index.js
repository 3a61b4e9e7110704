// The package's door.

export { RelayError } from './errors.js';
export { connect } from './relay.js';
