//! Assembly: settings to sockets, store, hub, gate and doors; and the drain, phase by phase.

use std::{fmt, io, net::SocketAddr, os::fd::AsRawFd, path::PathBuf, sync::Arc, time::Duration};

use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{UnixAddr, getsockname},
    },
    unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, mpsc},
    time::{sleep, timeout},
};

use crate::{
    config::{self, Overflow, SocketPlace},
    edge::{
        Doors,
        control::{self, Control, Unfit},
        gateway::Link,
        listen,
        post::Post,
        seqpacket::Listener,
    },
    gate::Gate,
    hub::{Bells, Hub, Ttl},
    inherit::Inherited,
    lifecycle::{Lifecycle, Phase, Task},
    mailbox::Capacity,
    metrics::Metrics,
    storage::{self, AnyStore, Directory, Disk, Limits, Local, Null},
};

/// How long the end may wait for what only tidies up.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Descriptors that are kept free for everything that is no HTTP connection.
const SPARE_DESCRIPTORS: u64 = 64;

/// Why the relay did not start.
#[derive(Debug)]
pub enum StartError {
    /// What is asked for cannot be; the operator has to ask for something else.
    Refused(String),
    /// The system did not let us.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Refused(why) => f.write_str(why),
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
    /// Where HTTP is served.
    pub addresses: Vec<SocketAddr>,
    /// Where the control socket is.
    pub socket: Option<PathBuf>,
    /// Where messages are kept on disk, if they are.
    pub data_dir: Option<PathBuf>,
    process: config::Process,
    hub: Option<Hub>,
    link: Option<Link>,
    /// Ends when the HTTP listeners are closed.
    still_open: mpsc::Receiver<()>,
    /// Ends when the control socket is closed.
    control_open: mpsc::Receiver<()>,
    _tasks: Vec<Task>,
}

/// Starts `x0-relay serve`.
///
/// # Errors
/// An address or socket that cannot be had, or privileges that cannot be given up.
pub fn serve(config: config::Serve, mut inherited: Inherited) -> Result<Server, StartError> {
    let life = Lifecycle::start();
    let metrics = Arc::new(Metrics::default());
    let listeners = listeners(&config.http, &mut inherited)?;
    let owned = config::ControlSocket {
        owner: config.socket.owner.or(config.process.user),
        group: config.socket.group.or(config.process.group),
        ..config.socket
    };
    let (control_listener, socket) = control_listener(&owned, inherited.control.take())?;
    if listeners.is_empty() && control_listener.is_none() {
        return Err(StartError::Refused("there is neither an address to listen on nor a control socket".to_owned()));
    }
    if let Some(dir) = &config.mail.data_dir {
        storage::prepare(dir, config.process.user, config.process.group).map_err(unfit)?;
    }
    give_up_privileges(&config.process)?;

    let hub = hub(&config.mail, &life, &metrics)?;
    let gate = Gate::open(geteuid().as_raw());
    let tasks = vec![life.spawn(hub.clone().sweep())];
    let (open, control_open) = mpsc::channel(1);
    if let Some(listener) = control_listener {
        let control = Control {
            hub: hub.clone(),
            gate,
            life: life.clone(),
            metrics: Arc::clone(&metrics),
            message_bytes: config.http.message_bytes,
            unfit: Unfit::default(),
        };
        life.spawn_detached(control::accept(listener, Arc::new(control), open));
    }
    let post = Post::Here(hub.clone(), gate);
    let doors = Arc::new(Doors {
        post,
        config: config.http,
        v1: Some(config.v1),
        life: life.clone(),
        metrics,
        crowded: Notify::new(),
    });
    let (addresses, still_open) = open_doors(listeners, &doors)?;
    life.enter(Phase::Ready);
    Ok(Server {
        life,
        addresses,
        socket,
        data_dir: config.mail.data_dir,
        process: config.process,
        hub: Some(hub),
        link: None,
        still_open,
        control_open,
        _tasks: tasks,
    })
}

/// Starts `x0-relay gateway`.
///
/// # Errors
/// An address that cannot be had, or privileges that cannot be given up.
pub fn gateway(config: config::Gateway, mut inherited: Inherited) -> Result<Server, StartError> {
    let life = Lifecycle::start();
    let metrics = Arc::new(Metrics::default());
    let listeners = listeners(&config.http, &mut inherited)?;
    if listeners.is_empty() {
        return Err(StartError::Refused("a gateway needs an address to listen on".to_owned()));
    }
    if inherited.control.is_some() {
        return Err(StartError::Refused(
            "a gateway was started with a control socket; it has use for TCP alone".to_owned(),
        ));
    }
    give_up_privileges(&config.process)?;
    let (link, task) = Link::open(config.socket.clone(), &life, Arc::clone(&metrics));
    let doors = Arc::new(Doors {
        post: Post::There(link.clone()),
        config: config.http,
        v1: None,
        life: life.clone(),
        metrics,
        crowded: Notify::new(),
    });
    let (addresses, still_open) = open_doors(listeners, &doors)?;
    life.enter(Phase::Ready);
    let (socket, process) = (Some(config.socket), config.process);
    let control_open = mpsc::channel(1).1;
    Ok(Server {
        life,
        addresses,
        socket,
        data_dir: None,
        process,
        hub: None,
        link: Some(link),
        still_open,
        control_open,
        _tasks: vec![task],
    })
}

impl Server {
    /// Ends in order: each phase is entered when the one before is over.
    pub async fn drain(mut self) {
        let config::Process { drain_notice, drain_timeout, .. } = self.process;
        if !drain_notice.is_zero() {
            self.life.enter(Phase::Notice);
            sleep(drain_notice).await;
        }
        self.life.enter(Phase::Closing);
        // Ends when every listener is closed; nothing is ever sent.
        let _ = self.still_open.recv().await;
        self.life.enter(Phase::Draining);
        if let Some(hub) = &self.hub {
            hub.wake_all();
        }
        if timeout(drain_timeout, self.life.idle()).await.is_err() {
            tracing::warn!(after = ?drain_timeout, "requests cut off (drain-timeout)");
        }
        if let Some(link) = &self.link {
            // What is not told in time is delivered again.
            let _ = timeout(LAST_WORDS, link.flushed()).await;
            link.last_words();
        }
        if let Some(hub) = &self.hub
            && let Err(error) = hub.close().await
        {
            tracing::error!(%error, "the store did not close in order");
        }
        self.life.enter(Phase::Done);
        // So that the socket's file is gone when the process is.
        let _ = timeout(LAST_WORDS, self.control_open.recv()).await;
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

fn listeners(http: &config::Http, inherited: &mut Inherited) -> Result<Vec<std::net::TcpListener>, StartError> {
    if inherited.tcp.is_empty() {
        return Ok(http.listen.iter().map(|address| listen::bind(*address)).collect::<io::Result<_>>()?);
    }
    for listener in &inherited.tcp {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() && !http.open_by_name {
            return Err(StartError::Refused(format!(
                "the inherited socket {address} can be reached from other machines, and everybody who reaches it may \
                 send and receive: say auth = \"open\" if that is meant"
            )));
        }
    }
    Ok(std::mem::take(&mut inherited.tcp))
}

fn control_listener(
    settings: &config::ControlSocket,
    inherited: Option<std::os::fd::OwnedFd>,
) -> Result<(Option<Listener>, Option<PathBuf>), StartError> {
    if let Some(fd) = inherited {
        let path = getsockname::<UnixAddr>(fd.as_raw_fd()).ok().and_then(|address| address.path().map(PathBuf::from));
        return Ok((Some(Listener::inherited(fd)?), path));
    }
    match &settings.place {
        SocketPlace::Nowhere => Ok((None, None)),
        SocketPlace::At(path) => Ok((Some(Listener::bind(path, settings)?), Some(path.clone()))),
        SocketPlace::Default(path) => match Listener::bind(path, settings) {
            Ok(listener) => Ok((Some(listener), Some(path.clone()))),
            Err(error) => {
                tracing::warn!(%error, "no control socket: set one with --socket");
                Ok((None, None))
            }
        },
    }
}

fn open_doors(
    listeners: Vec<std::net::TcpListener>,
    doors: &Arc<Doors>,
) -> Result<(Vec<SocketAddr>, mpsc::Receiver<()>), StartError> {
    let permits = Arc::new(Semaphore::new(affordable(doors.config.connections)));
    let (open, still_open) = mpsc::channel(1);
    let mut addresses = Vec::new();
    for listener in listeners {
        addresses.push(listener.local_addr()?);
        let listener = TcpListener::from_std(listener)?;
        let accept = listen::accept(listener, Arc::clone(doors), Arc::clone(&permits), open.clone());
        doors.life.spawn_detached(accept);
    }
    Ok((addresses, still_open))
}

/// As many connections as the limit on open files allows.
fn affordable(connections: usize) -> usize {
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
fn give_up_privileges(process: &config::Process) -> Result<(), StartError> {
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
