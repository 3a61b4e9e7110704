//! Examples and properties of protocol v1.
