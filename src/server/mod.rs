//! Assembly: settings to sockets, store, hub, gate and doors; and the drain, phase by phase.
//!
//! [`sockets`] are kept apart from what accepts on them, because another relay may take them over ([`handover`]), as
//! this one may have got its own ([`succession`]).

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use nix::unistd::geteuid;
use tokio::{
    signal::unix::Signal,
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};

use crate::{
    config::{self, Overflow, again::Sources},
    edge::{
        Doors,
        control::{self, Control, Heir, Heirs, Unfit},
        cors::Pages,
        gateway::Link,
        limits::Tolls,
        listen,
        post::Post,
        tls::{Entrance, Identity},
    },
    gate::{Gate, Keys, Origins, limits::Limits as Rates},
    hub::{Bells, Hub, Ttl},
    inherit::Inherited,
    lifecycle::{Crowd, Lifecycle, Phase, Task},
    live::{Live, Report},
    mailbox::Capacity,
    metrics::Metrics,
    storage::{self, AnyStore, Directory, Disk, Limits, Local, Null},
    wire::takeover,
};

mod exchange;
mod handover;
mod keys;
pub mod papers;
mod process;
pub mod reload;
mod sockets;
mod succession;

pub use handover::Handed;
pub use succession::take_over;

use process::{affordable, give_up_privileges};
use sockets::Sockets;

/// How long the end may wait for what only tidies up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the relay did not start.
#[derive(Debug)]
pub enum StartError {
    /// What is asked for cannot be; the operator has to ask for something else.
    Refused(String),
    /// The system did not let us.
    System(io::Error),
    /// The relay that runs keeps its place.
    Kept(String),
    /// Whoever is where a relay should run does not answer.
    Unreachable(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Refused(why) | StartError::Kept(why) | StartError::Unreachable(why) => f.write_str(why),
            StartError::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::System(error)
    }
}

/// A relay or gateway that serves.
pub struct Server {
    /// Its phase, and the way to end it.
    pub life: Lifecycle,
    /// Where HTTP is served, and whether with TLS.
    pub addresses: Vec<(SocketAddr, bool)>,
    /// Where the control socket is.
    pub socket: Option<PathBuf>,
    /// Where messages are kept on disk, if they are.
    pub data_dir: Option<PathBuf>,
    /// Who may send and receive.
    pub auth: config::Auth,
    /// Whose place it has taken, in words.
    pub predecessor: Option<String>,
    process: config::Process,
    sockets: Sockets,
    open: Open,
    role: Role,
    told: reload::Told,
    reload: Option<Task>,
    /// What of the HTTP side can be exchanged while it runs.
    parts: Vec<Box<dyn reload::Part>>,
}

enum Role {
    Relay(Box<Relay>),
    Gateway(Link),
}

/// What is open in one life of the process.
struct Open {
    /// Ends when no TCP listener accepts any more.
    http: mpsc::Receiver<()>,
    /// Ends when the control socket accepts no more.
    control: mpsc::Receiver<()>,
    tasks: Vec<Task>,
}

/// What a relay has beside its sockets.
struct Relay {
    config: config::Serve,
    pages: Pages,
    identity: Option<Identity>,
    /// The data directory.
    directory: Option<takeover::Directory>,
    gate: Gate,
    metrics: Arc<Metrics>,
    hub: Hub,
    unfit: Arc<Unfit>,
    heirs: Heirs,
    heir: mpsc::Receiver<Heir>,
    guests: Crowd,
    gateways: Crowd,
    settings: Live<Report>,
    limits: Rates,
}

/// A relay that has all that it needs but its mailboxes.
struct Prepared {
    config: config::Serve,
    identity: Option<Identity>,
    sockets: Sockets,
    life: Lifecycle,
    metrics: Arc<Metrics>,
    keys: Keys,
}

/// Starts `x0-relay serve`.
///
/// # Errors
/// An address or socket that cannot be had, or privileges that cannot be given up.
pub fn serve(config: config::Serve, inherited: Inherited) -> Result<Server, StartError> {
    let sockets = Sockets::relay(&config, inherited)?;
    let prepared = Prepared::new(config, sockets)?;
    let hub = prepared.hub()?;
    prepared.open(hub)
}

impl Prepared {
    /// Makes the data directory, and gives up privileges.
    fn new(config: config::Serve, sockets: Sockets) -> Result<Self, StartError> {
        if let Some(dir) = &config.mail.data_dir {
            storage::prepare(dir, config.process.user, config.process.group).map_err(unfit)?;
        }
        // The key may be for the first user's eyes only.
        let identity = identity(&config.http)?;
        give_up_privileges(&config.process)?;
        // As the user that reads them again when they change.
        let keys = Keys::load(&config.auth).map_err(unfit)?;
        if keys.skipped > 0 {
            tracing::info!(skipped = keys.skipped, "keys of jwt-keys that are for something else");
        }
        Ok(Self { config, identity, sockets, life: Lifecycle::start(), metrics: Arc::new(Metrics::default()), keys })
    }

    /// Brings the mailboxes back.
    fn hub(&self) -> Result<Hub, StartError> {
        hub(&self.config.mail, &self.life, &self.metrics)
    }

    /// Accepts.
    fn open(self, hub: Hub) -> Result<Server, StartError> {
        let Self { config, identity, sockets, life, metrics, keys } = self;
        let (heirs, heir) = Heirs::way();
        let limits = Rates::new(config.http.limits.clone());
        let gate = Gate::new(geteuid().as_raw(), &config.auth, keys, life.clock).limited(limits.clone());
        if let Some(directory) = &config.mail.data_dir {
            gate.keep_revocations_in(directory).map_err(unfit)?;
        }
        let relay = Relay {
            directory: config.mail.data_dir.as_deref().map(succession::identity),
            gate,
            metrics,
            hub,
            unfit: Arc::default(),
            heirs,
            heir,
            guests: Crowd::default(),
            gateways: Crowd::default(),
            settings: Live::default(),
            identity,
            pages: Pages::new(Origins::new(&config.http.origins)),
            limits,
            config,
        };
        let parts = exchange::parts(&relay.pages, relay.identity.as_ref(), &relay.limits);
        let told =
            reload::Told { report: relay.settings.clone(), metrics: Arc::clone(&relay.metrics), clock: life.clock };
        let open = relay.open(&sockets, &life)?;
        life.enter(Phase::Ready);
        Ok(Server {
            life,
            addresses: announced(&sockets)?,
            socket: sockets.path(),
            data_dir: relay.config.mail.data_dir.clone(),
            auth: relay.config.auth.clone(),
            predecessor: None,
            process: relay.config.process.clone(),
            sockets,
            open,
            role: Role::Relay(Box::new(relay)),
            told,
            reload: None,
            parts,
        })
    }
}

impl Relay {
    /// What of it can be exchanged while it runs.
    fn parts(&self) -> Vec<Box<dyn reload::Part>> {
        vec![Box::new(keys::Exchange { gate: self.gate.clone(), auth: self.config.auth.clone() })]
    }

    /// Opens the doors of one life.
    fn open(&self, sockets: &Sockets, life: &Lifecycle) -> Result<Open, StartError> {
        let tasks = vec![life.spawn(self.hub.clone().sweep())];
        let (control_open, control) = mpsc::channel(1);
        if let Some(listener) = sockets.control_listener()? {
            let control = Control {
                hub: self.hub.clone(),
                gate: self.gate.clone(),
                life: life.clone(),
                metrics: Arc::clone(&self.metrics),
                message_bytes: self.config.http.message_bytes,
                limits: self.limits.clone(),
                unfit: Arc::clone(&self.unfit),
                heirs: self.heirs.clone(),
                guests: self.guests.clone(),
                gateways: self.gateways.clone(),
                settings: self.settings.clone(),
            };
            life.spawn_detached(control::accept(listener, Arc::new(control), control_open));
        }
        let doors = Arc::new(Doors {
            post: Post::Here(self.hub.clone(), self.gate.clone()),
            config: self.config.http.clone(),
            pages: self.pages.clone(),
            trusts_names: !self.gate.is_open(),
            v1: Some(self.config.v1),
            life: life.clone(),
            metrics: Arc::clone(&self.metrics),
            guests: Arc::default(),
            tolls: Tolls::new(self.limits.clone()),
        });
        let http = open_doors(sockets, self.identity.as_ref(), &doors)?;
        Ok(Open { http, control, tasks })
    }
}

/// Starts `x0-relay gateway`.
///
/// # Errors
/// An address that cannot be had, or privileges that cannot be given up.
pub fn gateway(config: config::Gateway, inherited: Inherited) -> Result<Server, StartError> {
    let life = Lifecycle::start();
    let metrics = Arc::new(Metrics::default());
    let identity = identity(&config.http)?;
    let pages = Pages::new(Origins::new(&config.http.origins));
    let sockets = Sockets::http(&config.http, inherited.tcp)?;
    if sockets.tcp() == 0 {
        return Err(StartError::Refused("a gateway needs an address to listen on".to_owned()));
    }
    if inherited.control.is_some() {
        return Err(StartError::Refused(
            "a gateway was started with a control socket; it has use for TCP alone".to_owned(),
        ));
    }
    give_up_privileges(&config.process)?;
    let limits = Rates::new(config.http.limits.clone());
    let (link, task) = Link::open(config.socket.clone(), &life, Arc::clone(&metrics));
    let doors = Arc::new(Doors {
        post: Post::There(link.clone()),
        pages: pages.clone(),
        trusts_names: !config.open,
        config: config.http,
        v1: None,
        life: life.clone(),
        metrics: Arc::clone(&metrics),
        guests: Arc::default(),
        tolls: Tolls::new(limits.clone()),
    });
    let told = reload::Told { report: Live::default(), metrics, clock: life.clock };
    let http = open_doors(&sockets, identity.as_ref(), &doors)?;
    life.enter(Phase::Ready);
    Ok(Server {
        life,
        addresses: announced(&sockets)?,
        socket: Some(config.socket),
        data_dir: None,
        auth: config::Auth::default(),
        predecessor: None,
        process: config.process,
        sockets,
        open: Open { http, control: mpsc::channel(1).1, tasks: vec![task] },
        role: Role::Gateway(link),
        parts: exchange::parts(&pages, identity.as_ref(), &limits),
        told,
        reload: None,
    })
}

impl Server {
    /// Takes the settings anew from now on, on each `hangup` and when a file of theirs changes. `parts` are those that
    /// the server does not know.
    pub fn take_settings_anew(&mut self, sources: Sources, hangup: Signal, mut parts: Vec<Box<dyn reload::Part>>) {
        parts.append(&mut self.parts);
        let read = match &self.role {
            Role::Relay(relay) => {
                parts.extend(relay.parts());
                reload::relay
            }
            Role::Gateway(_) => reload::gateway,
        };
        self.reload = match reload::Reload::new(sources, read, parts, self.told.clone()) {
            Some(reload) => Some(self.life.spawn(reload.run(hangup))),
            None => {
                tracing::warn!(
                    "the settings changed while the relay started, and are faulty now: they will not be read again"
                );
                None
            }
        };
    }

    /// Ends in order: each phase is entered when the one before is over.
    pub async fn drain(mut self) {
        let config::Process { drain_notice, drain_timeout, .. } = self.process;
        if !drain_notice.is_zero() {
            self.life.enter(Phase::Notice);
            sleep(drain_notice).await;
        }
        self.life.enter(Phase::Closing);
        self.sockets.close_http();
        // Ends when every listener is closed; nothing is ever sent.
        let _ = self.open.http.recv().await;
        self.life.enter(Phase::Draining);
        if let Role::Relay(relay) = &self.role {
            relay.hub.wake_all();
        }
        if timeout(drain_timeout, self.life.idle()).await.is_err() {
            tracing::warn!(after = ?drain_timeout, "requests cut off (drain-timeout)");
        }
        match &self.role {
            Role::Gateway(link) => {
                // What is not told in time is delivered again.
                let _ = timeout(LAST_WORDS, link.flushed()).await;
                link.last_words();
            }
            Role::Relay(relay) => {
                if let Err(error) = relay.hub.close().await {
                    tracing::error!(%error, "the store did not close in order");
                }
            }
        }
        self.life.enter(Phase::Done);
        let _ = timeout(LAST_WORDS, self.open.control.recv()).await;
        // The control socket's file is gone when the process is.
        drop(self.sockets);
    }
}

/// A data directory that cannot be used.
fn unfit(error: crate::error::Error) -> StartError {
    StartError::Refused(error.detail.into_owned())
}

fn hub(mail: &config::Mail, life: &Lifecycle, metrics: &Arc<Metrics>) -> Result<Hub, StartError> {
    let bells = Bells::default();
    let mailbox = Capacity {
        messages: mail.mailbox_messages,
        bytes: mail.mailbox_bytes,
        drop_oldest: mail.overflow == Overflow::DropOldest,
    };
    let limits = Limits {
        mailbox,
        sessions: mail.sessions,
        memory: mail.memory,
        forget_after_ms: u64::try_from(mail.forget_after.as_millis()).unwrap_or(u64::MAX),
    };
    let store: AnyStore = match &mail.data_dir {
        None => Arc::new(Local::new(Null, limits, life.clock, bells.ring()).map_err(unfit)?),
        Some(dir) => {
            let journal = Disk::new(Directory::take(dir).map_err(unfit)?, mail.sync);
            Arc::new(Local::new(journal, limits, life.clock, bells.ring()).map_err(unfit)?)
        }
    };
    let ttl = Ttl { usual: mail.ttl, most: mail.ttl_max };
    Ok(Hub::new(store, bells, life.clone(), Arc::clone(metrics), ttl))
}

/// Reads certificate and key, if there are to be some.
fn identity(http: &config::Http) -> Result<Option<Identity>, StartError> {
    http.tls.as_ref().map(Identity::read).transpose().map_err(|error| StartError::Refused(format!("TLS: {error}")))
}

/// Where HTTP is served, and whether with TLS.
fn announced(sockets: &Sockets) -> io::Result<Vec<(SocketAddr, bool)>> {
    Ok(sockets.addresses()?.into_iter().map(|address| (address, sockets.is_secure(&address))).collect())
}

/// Accepts on every TCP socket; what is returned ends when none accepts any more.
fn open_doors(
    sockets: &Sockets,
    identity: Option<&Identity>,
    doors: &Arc<Doors>,
) -> Result<mpsc::Receiver<()>, StartError> {
    let connections = affordable(doors.config.connections);
    let permits = Arc::new(Semaphore::new(connections));
    let entrance = identity.map(|identity| Arc::new(Entrance::new(identity.clone(), connections)));
    let (open, still_open) = mpsc::channel(1);
    for (listener, secure) in sockets.http_listeners()? {
        let entrance = entrance.clone().filter(|_| secure);
        let accept = listen::accept((listener, entrance), Arc::clone(doors), Arc::clone(&permits), open.clone());
        doors.life.spawn_detached(accept);
    }
    Ok(still_open)
}
