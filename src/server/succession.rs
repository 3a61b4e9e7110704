//! Starting in the place of a relay that runs: its sockets first, then all that can fail, then its mailboxes.

use std::{
    fmt,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    time::Duration,
};

use nix::unistd::geteuid;
use tokio::time::{Instant, sleep};

use super::{Prepared, Server, Sockets, StartError, serve};
use crate::{
    config::{self, SocketPlace},
    hub::Hub,
    inherit::Inherited,
    takeover::{
        Taking,
        taking::{Empty, Failed},
    },
    wire::takeover::{Ask, Directory, Offer, VERSION},
};

/// How long the data directory of a relay that has ended without a word may still be its own.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);

impl From<Failed> for StartError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(why) => StartError::Kept(why),
            Failed::Unreachable(why) => StartError::Unreachable(why),
        }
    }
}

/// Starts `x0-relay serve --takeover`: in the place of the relay that runs, or as any other if none does.
///
/// # Errors
/// As [`serve`]; and if the relay that runs keeps its place, or does not answer.
pub async fn take_over(config: config::Serve, inherited: Inherited, discard: bool) -> Result<Server, StartError> {
    let path = match &config.socket.place {
        SocketPlace::At(path) | SocketPlace::Default(path) => path.clone(),
        SocketPlace::Nowhere => {
            let why = "a takeover goes over the control socket of the relay that runs: name it with --socket";
            return Err(StartError::Refused(why.to_owned()));
        }
    };
    if !inherited.is_empty() {
        tracing::info!("started with sockets of its own: there is nothing to take over");
        return serve(config, inherited);
    }
    let release = env!("CARGO_PKG_VERSION").to_owned();
    let data_dir = config.mail.data_dir.as_deref().map(identity);
    let ask = Ask { version: VERSION, release, discard, data_dir };
    // Anybody may have put a socket at the default place.
    let (own, is_default) = (geteuid().as_raw(), matches!(config.socket.place, SocketPlace::Default(_)));
    let trusted = |owner| !is_default || owner == 0 || owner == own;
    let Some((old, sockets)) = Taking::ask(&path, trusted, ask).await? else {
        tracing::info!(socket = %path.display(), "no relay runs there: there is nothing to take over");
        return serve(config, inherited);
    };
    match follow(&old, config, sockets, &path).await {
        Ok(mut server) => {
            old.serving().await;
            server.sockets.own_file(true);
            server.predecessor = Some(format!("x0-relay {}", old.offer.release.escape_debug()));
            Ok(server)
        }
        Err(error) => {
            old.failed(error.to_string()).await;
            Err(error)
        }
    }
}

/// Gets everything from the old relay, its place last.
async fn follow(old: &Taking, config: config::Serve, sockets: Vec<OwnedFd>, path: &Path) -> Result<Server, StartError> {
    let Offer { tcp, file, .. } = old.offer;
    let mut given = Inherited::default();
    for (index, socket) in sockets.into_iter().enumerate() {
        given.add(socket, &format!("socket {index} of the running relay"))?;
    }
    if given.tcp.len() != tcp || given.control.is_none() {
        let why = format!("the running relay gave {} of {tcp} TCP sockets, or no control socket", given.tcp.len());
        return Err(StartError::Kept(why));
    }
    let sockets = Sockets::taken(&config.http, given, path, file)?;
    tracing::info!(addresses = %List(&sockets.addresses()?), "taking over; listen and the control socket's settings do not count");
    let prepared = Prepared::new(config, sockets)?;
    let hub = match old.ready().await? {
        Empty::Given => prepared.hub()?,
        Empty::Left => {
            tracing::warn!("the running relay ended without a word: going on where it was");
            released(&prepared).await?
        }
    };
    prepared.open(hub)
}

/// Brings the mailboxes back once the directory is nobody's.
async fn released(prepared: &Prepared) -> Result<Hub, StartError> {
    let give_up = Instant::now() + RELEASED_WITHIN;
    loop {
        match prepared.hub() {
            Err(error) if Instant::now() < give_up => tracing::debug!(%error, "not yet"),
            result => return result,
        }
        sleep(PAUSE).await;
    }
}

/// What a directory is, however it is called. One that is not there is no other.
pub fn identity(path: &Path) -> Directory {
    let there = path.metadata().ok();
    Directory {
        path: path.display().to_string(),
        device: there.as_ref().map_or(0, MetadataExt::dev),
        inode: there.as_ref().map_or(0, MetadataExt::ino),
    }
}

/// Things after one another.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, item)| {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{item}")
        })
    }
}
