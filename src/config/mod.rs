//! What an operator may set: defaults < file < environment < flags.
//!
//! [`options`] is the one table that flags, environment, file, `--help` and docs/configuration.md are made from or
//! checked against; [`resolve`] reads all sources, reports all faults together, and yields the settings below.

mod access;
pub mod again;
mod arguments;
mod contradictions;
pub mod fault;
mod file;
mod limits;
mod names;
pub mod options;
mod origins;
#[cfg(test)]
mod papers;
pub mod resolve;
#[cfg(test)]
mod tests;
pub mod value;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

pub use fault::Fault;
pub use resolve::{check, gateway, serve};

pub use crate::settings::{
    Auth, ControlSocket, Founded, Gateway, Http, Jwt, KeyPlace, Limits, LogFormat, Mail, Overflow, Process, Scopes,
    Serve, SocketPlace, SyncRule, Tls, V1,
};

/// Where the control socket is unless somebody says otherwise, for this user.
#[must_use]
pub fn default_socket() -> PathBuf {
    default_socket_in(std::env::var_os("XDG_RUNTIME_DIR").as_deref())
}

/// The same for a given `$XDG_RUNTIME_DIR`, which counts if it is absolute and short enough for a socket.
fn default_socket_in(runtime: Option<&OsStr>) -> PathBuf {
    default_socket_of(runtime, nix::unistd::geteuid().as_raw())
}

fn default_socket_of(runtime: Option<&OsStr>, uid: u32) -> PathBuf {
    let own =
        runtime.map(Path::new).filter(|runtime| runtime.is_absolute()).map(|runtime| runtime.join("x0-relay.sock"));
    match own.filter(|path| path.as_os_str().len() <= value::SOCKET_PATH_MAX) {
        Some(path) => path,
        None if uid == 0 => PathBuf::from("/run/x0-relay.sock"),
        None => PathBuf::from(format!("/tmp/x0-relay-{uid}.sock")),
    }
}
