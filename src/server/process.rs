//! What the process itself is allowed: open files, and whose it is.

use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid},
};

use super::StartError;
use crate::config;

/// Descriptors that are kept free for everything that is no HTTP connection.
const SPARE_DESCRIPTORS: u64 = 64;

/// As many connections as the limit on open files allows.
pub fn affordable(connections: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return connections };
    let wanted = connections as u64 + SPARE_DESCRIPTORS;
    let limit = if wanted <= soft || setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_err() {
        soft
    } else {
        wanted.min(hard)
    };
    if wanted <= limit {
        return connections;
    }
    let allowed = usize::try_from(limit.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(connections).max(1);
    tracing::warn!(connections, allowed, limit, "the limit on open files allows fewer connections: raise it");
    allowed
}

/// Becomes another user, for good.
pub fn give_up_privileges(process: &config::Process) -> Result<(), StartError> {
    let refused = |what: &str, error: nix::errno::Errno| StartError::Refused(format!("cannot become {what}: {error}"));
    if process.user.is_none() && process.group.is_none() {
        return Ok(());
    }
    if geteuid().is_root() {
        let groups: Vec<Gid> = process.group.map(Gid::from_raw).into_iter().collect();
        setgroups(&groups).map_err(|error| refused("a process without root's groups", error))?;
    }
    if let Some(group) = process.group {
        setgid(Gid::from_raw(group)).map_err(|error| refused(&format!("group {group}"), error))?;
    }
    if let Some(user) = process.user {
        setuid(Uid::from_raw(user)).map_err(|error| refused(&format!("user {user}"), error))?;
    }
    Ok(())
}
