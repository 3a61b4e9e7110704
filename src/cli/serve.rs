//! `x0-relay serve` and `x0-relay gateway`: settings, runtime, banner, signals.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr},
    pin::pin,
    time::Duration,
};

use clap::ArgMatches;
use sd_notify::NotifyState;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{Done, Failure, OTHER_VARIABLES, logs};
use crate::{
    config::{Fault, Process, again::Sources},
    inherit::{self, Inherited},
    server::{self, Handed, Server, StartError},
};

/// Runs the relay.
pub fn serve(matches: &ArgMatches) -> Done {
    let inherited = inherit::take().map_err(Failure::usage)?;
    let sources = Sources::new(matches.clone(), std::env::vars_os(), OTHER_VARIABLES);
    let (config, _) = sources.serve().map_err(|faults| all(&faults))?;
    let (process, pages) = (config.process.clone(), config.http.pages);
    let (takeover, discard) = (matches.get_flag("takeover"), matches.get_flag("discard"));
    let start = async move {
        if takeover { server::take_over(config, inherited, discard).await } else { server::serve(config, inherited) }
    };
    run(&process, sources, start, |server| relay_banner(server, pages))
}

/// Runs the HTTP front alone.
pub fn gateway(matches: &ArgMatches) -> Done {
    let inherited: Inherited = inherit::take().map_err(Failure::usage)?;
    let sources = Sources::new(matches.clone(), std::env::vars_os(), OTHER_VARIABLES);
    let (config, _) = sources.gateway().map_err(|faults| all(&faults))?;
    let process = config.process.clone();
    let open = config.open;
    run(&process, sources, async { server::gateway(config, inherited) }, |server| gateway_banner(server, open))
}

fn all(faults: &[Fault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Failure::usage(format!("the configuration is wrong:\n{}", lines.join("\n")))
}

fn run(
    process: &Process,
    sources: Sources,
    start: impl Future<Output = Result<Server, StartError>>,
    banner: impl FnOnce(&Server) -> String,
) -> Done {
    let level = logs::start(process);
    let runtime = runtime(process.threads)?;
    let done = runtime.block_on(async {
        // Before anybody can know that there is somebody to signal.
        let mut signals = Signals::listen().map_err(Failure::failed)?;
        let hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let started = tokio::select! {
            started = start => started,
            code = signals.any() => return Err(Failure { code, text: "told to end before it served".to_owned() }),
        };
        let mut server = started.map_err(|error| match error {
            StartError::Refused(why) => Failure::usage(why),
            StartError::System(error) => Failure::failed(error),
            StartError::Kept(why) => Failure::failed(why),
            StartError::Unreachable(why) => Failure::unreachable(why),
        })?;
        server.take_settings_anew(sources, hangup, vec![Box::new(level)]);
        say(&banner(&server));
        until_told_to_end(server, signals).await
    });
    // Connections that hold nothing open end with the process.
    runtime.shutdown_timeout(Duration::ZERO);
    done
}

/// What connections run on. `threads`: 0 is one for each processor.
///
/// # Errors
/// The system's.
pub fn runtime(threads: usize) -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().map_err(Failure::failed)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for either, and says with which code a process ends that it ends at once. May be dropped.
    async fn any(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => 143,
            _ = self.interrupt.recv() => 130,
        }
    }
}

/// Serves until a signal, an operator or another relay ends it; a second signal ends it at once.
async fn until_told_to_end(mut server: Server, mut signals: Signals) -> Done {
    notify(&[NotifyState::Ready]);
    loop {
        let life = server.life.clone();
        let heir = tokio::select! {
            _ = signals.any() => {
                tracing::info!("told to end by a signal: draining");
                break;
            }
            () = life.asked_to_end() => {
                tracing::info!("an operator asked: draining");
                break;
            }
            heir = server.heir() => heir,
        };
        let mut told = false;
        let handed = {
            let mut handing = pin!(server.hand_over(heir));
            loop {
                tokio::select! {
                    handed = &mut handing => break handed,
                    code = signals.any() => {
                        if told {
                            return at_once(code);
                        }
                        told = true;
                        tracing::info!("told to end by a signal: as soon as the takeover has ended, one way or the other");
                    }
                }
            }
        };
        match handed {
            Handed::Over(pid) => {
                leave_to(pid);
                return Ok(());
            }
            Handed::Kept if told => break,
            Handed::Kept => {}
        }
    }
    notify(&[NotifyState::Stopping]);
    tokio::select! {
        () = server.drain() => Ok(()),
        code = signals.any() => at_once(code),
    }
}

fn at_once(code: u8) -> Done {
    Err(Failure { code, text: "a second signal: ended at once".to_owned() })
}

/// Tells systemd that another process is the service from now on, if it is one of the service's. One that belongs to
/// another service, which a privileged service may name all the same, is not this one's.
fn leave_to(pid: Option<i32>) {
    let group = |whose: &str| std::fs::read_to_string(format!("/proc/{whose}/cgroup")).ok();
    let is_ours = |pid: &i32| group(&pid.to_string()).is_some_and(|theirs| Some(theirs) == group("self"));
    match pid.filter(is_ours).and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) => notify(&[NotifyState::MainPid(pid)]),
        None => notify(&[NotifyState::Stopping]),
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    // A relay whose standard output is closed serves all the same.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Said loudly, because it may not be meant.
const OPEN: &str =
    "  access         OPEN: whoever reaches it may send to every session and receive every session's mail";

fn relay_banner(server: &Server, pages: bool) -> String {
    let mut lines = banner_head("serving", server);
    if let Some(predecessor) = &server.predecessor {
        lines.push(format!("  in the place of {predecessor}, on its sockets"));
    }
    if let Some(path) = &server.socket {
        lines.push(format!("  control socket {}", path.display()));
    }
    lines.push(match &server.data_dir {
        None => "  messages       in memory: they end with this process".to_owned(),
        Some(dir) => format!("  messages       on disk in {}", dir.display()),
    });
    lines.push(match (&server.auth.jwt, &server.auth.signed) {
        (None, None) => OPEN.to_owned(),
        (Some(_), None) => "  access         for those with a token (jwt)".to_owned(),
        (None, Some(_)) => "  access         for those with a signed session (signed)".to_owned(),
        (Some(_), Some(_)) => "  access         for those with a token or a signed session (jwt, signed)".to_owned(),
    });
    // Without TLS if there is a choice: a certificate is rarely good for an address of this machine.
    let best = server.addresses.iter().find(|(_, secure)| !secure).or(server.addresses.first());
    if let Some((mut address, secure)) = best.copied() {
        let scheme = scheme(secure);
        // What stands for every address of this machine is none that a browser could go to.
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let usual = address.port() == 8080 && !secure;
        let url = if usual { String::new() } else { format!(" --url {scheme}://{address}") };
        let browser = if pages { format!("{scheme}://{address} in a browser, or ") } else { String::new() };
        lines.push(format!("  try            {browser}in two terminals"));
        lines.push(format!("                 x0-relay watch tab-b{url}"));
        lines.push(format!("                 x0-relay send tab-b '{{\"hello\":\"world\"}}'{url}"));
    }
    lines.join("\n") + "\n"
}

fn gateway_banner(server: &Server, open: bool) -> String {
    let mut lines = banner_head("gateway on", server);
    if let Some(path) = &server.socket {
        lines.push(format!("  server at      {}", path.display()));
    }
    lines.push(if open {
        OPEN.to_owned()
    } else {
        "  access         as the server behind it says; signed sessions are passed on".to_owned()
    });
    lines.join("\n") + "\n"
}

fn banner_head(what: &str, server: &Server) -> Vec<String> {
    let mut lines = vec![format!("x0-relay {}", env!("CARGO_PKG_VERSION"))];
    lines.extend(
        server.addresses.iter().map(|(address, secure)| format!("  {what:<14} {}://{address}", scheme(*secure))),
    );
    lines
}

const fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}
