//! Giving the place to another relay: stop accepting, finish what is in hand, close the store; and if nothing comes of
//! it, open the doors again.

use std::{future::pending, time::Duration};

use tokio::time::{sleep, timeout};

use super::{LAST_WORDS, Relay, Role, Server, hub};
use crate::{
    edge::{control::Heir, seqpacket::DESCRIPTORS_MAX},
    lifecycle::{HandOver, Phase},
    takeover::{Giving, giving::Why},
    wire::takeover::{Ask, Directory, Offer, VERSION},
};

/// How long what is in hand may take. Everybody who comes meanwhile waits.
const FINISHED_WITHIN: Duration = Duration::from_secs(3);
/// The first and the longest pause between attempts to open the store again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handed {
    /// Another relay serves. Its process, if it can be seen from here.
    Over(Option<i32>),
    /// This one serves, as before.
    Kept,
}

impl Server {
    /// Waits for a relay that is to have this one's place. May be dropped.
    pub async fn heir(&mut self) -> Heir {
        match &mut self.role {
            Role::Relay(relay) => match relay.heir.recv().await {
                Some(heir) => heir,
                // The way to here lives as long as the relay.
                None => pending().await,
            },
            Role::Gateway(_) => pending().await,
        }
    }

    /// Gives the place away.
    pub async fn hand_over(&mut self, heir: Heir) -> Handed {
        let Role::Relay(relay) = &self.role else { return Handed::Kept };
        let giving = Giving::new(heir);
        if let Err(why) = self.terms(relay, giving.ask()).await {
            tracing::info!(heir = %giving, why, "a takeover was refused");
            giving.refuse(&why).await;
            return Handed::Kept;
        }
        tracing::info!(heir = %giving, "another relay takes over: it has the sockets");
        // Whoever of the two is left removes it.
        self.sockets.own_file(false);
        let mut closed = false;
        match self.give(&giving, &mut closed).await {
            Ok(()) => {
                tracing::info!(heir = %giving, "the other relay serves");
                Handed::Over(giving.pid())
            }
            Err(why) => {
                tracing::error!(heir = %giving, why, "the takeover failed: this relay serves again");
                giving.refuse(&why).await;
                drop(giving);
                self.resume(closed).await;
                Handed::Kept
            }
        }
    }

    /// Whether that relay may have this one's place.
    async fn terms(&self, relay: &Relay, ask: &Ask) -> Result<(), Why> {
        let phase = self.life.phase();
        if phase != Phase::Ready {
            return Err(format!("it is about to end (phase {})", phase.name()));
        }
        if ask.version != VERSION {
            let (theirs, release) = (ask.version, env!("CARGO_PKG_VERSION"));
            return Err(format!(
                "it is x0-relay {release} and speaks version {VERSION} of the takeover, not {theirs}: stop it, then start \
                 the other"
            ));
        }
        if self.sockets.all().len() > DESCRIPTORS_MAX {
            return Err(format!("it has more than {DESCRIPTORS_MAX} sockets, which no packet can carry"));
        }
        match (&relay.directory, &ask.data_dir) {
            (Some(ours), Some(theirs)) if ours.is(theirs) => match relay.hub.trouble().await {
                // What memory alone holds would be lost.
                Some(trouble) => Err(trouble.to_owned()),
                None => Ok(()),
            },
            (Some(Directory { path, .. }), theirs) => {
                let theirs = theirs.as_ref().map_or("memory", |directory| &directory.path);
                Err(format!("it keeps messages in {path}, this one would keep them in {theirs}: use --data-dir {path}"))
            }
            (None, _) if ask.discard => Ok(()),
            (None, _) => nothing_waits(relay).await,
        }
    }

    /// The whole of it, up to the other relay's word that it serves. `closed` is set once the store is.
    async fn give(&mut self, giving: &Giving, closed: &mut bool) -> Result<(), Why> {
        let Role::Relay(relay) = &self.role else { return Ok(()) };
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let offer = Offer { version: VERSION, release, tcp: self.sockets.tcp(), file: self.sockets.has_file() };
        giving.sockets(offer, &self.sockets.all()).await?;
        let on_disk = relay.directory.is_some();
        self.life.hand_over(if on_disk { HandOver::Messages } else { HandOver::Sockets });
        self.life.enter(Phase::Closing);
        // Both end when nothing is accepted any more; nothing is ever sent.
        let _ = self.open.http.recv().await;
        let _ = self.open.control.recv().await;
        self.life.enter(Phase::Draining);
        relay.hub.wake_all();
        let finished = async {
            self.life.idle().await;
            relay.guests.gone().await;
        };
        tokio::select! {
            done = timeout(FINISHED_WITHIN, finished) => if done.is_err() {
                tracing::warn!(after = ?FINISHED_WITHIN, "requests cut off");
            },
            why = giving.broken() => return Err(why),
        }
        if !on_disk && !giving.ask().discard {
            // What was accepted before the drain, and nobody fetched in it.
            nothing_waits(relay).await?;
        }
        self.life.enter(Phase::Done);
        // They go to the other relay.
        let _ = timeout(2 * LAST_WORDS, relay.gateways.gone()).await;
        if on_disk {
            self.open.tasks.clear();
            *closed = true;
            relay.gate.give_revocations();
            if let Err(error) = relay.hub.close().await {
                tracing::error!(%error, "the store did not close in order");
            }
        }
        giving.yours().await?;
        giving.serving().await
    }

    /// Opens the doors again in a new life, on the same mailboxes if they were not closed.
    async fn resume(&mut self, closed: bool) {
        let Role::Relay(relay) = &mut self.role else { return };
        let life = self.life.again();
        let mut pause = PAUSE_FIRST;
        let open = loop {
            let hub = if closed {
                hub(&relay.config.mail, &life, &relay.metrics)
            } else {
                Ok(relay.hub.in_life(life.clone()))
            };
            let open = hub.and_then(|hub| {
                relay.hub = hub;
                // The other relay may have been told of some before it gave up; the directory is ours again.
                if let (true, Some(directory)) = (closed, &relay.config.mail.data_dir)
                    && let Err(error) = relay.gate.keep_revocations_in(directory)
                {
                    tracing::error!(%error, "what the other relay revoked is not known here");
                }
                relay.gate.take_revocations_back();
                relay.open(&self.sockets, &life)
            });
            match open {
                Ok(open) => break open,
                Err(error) => tracing::error!(%error, again_in = ?pause, "the doors cannot be opened again yet"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        };
        (self.open, self.life) = (open, life);
        self.sockets.own_file(true);
        self.life.enter(Phase::Ready);
    }
}

/// Refuses to lose what memory alone holds.
async fn nothing_waits(relay: &Relay) -> Result<(), Why> {
    match relay.hub.totals().await.map_err(|error| error.to_string())?.messages {
        0 => Ok(()),
        messages => Err(format!(
            "{messages} message(s) wait in its memory, and would be lost: try again when they are fetched, or say --discard"
        )),
    }
}
