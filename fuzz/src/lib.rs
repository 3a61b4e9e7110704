//! What must hold of every parser of outside bytes, whatever the bytes: one module a parser, each with a `check` that
//! panics if it does not, and says whether the bytes were taken. The fuzz targets and tests/corpus.rs call them.

pub mod claims;
pub mod config_file;
pub mod credentials;
pub mod forwarded;
pub mod frame;
pub mod json_object;
pub mod keys;
pub mod origins;
pub mod packet;
pub mod rate;
pub mod refusal;
pub mod v1_draft;
pub mod v1_frame;
pub mod v1_query;
pub mod wish;
pub mod x0_body;
pub mod x0_query;

mod dialect;
mod judge;
mod outcome;
mod sending;
