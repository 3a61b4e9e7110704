//! The processes that serve an address of this machine: found by their listening socket, and what they cost.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

/// The processes that are measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Processes(Vec<u32>);

/// What they have cost until now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sample {
    /// Resident memory, all of them together.
    pub resident_bytes: u64,
    /// Time on a processor, all threads of all of them together.
    pub busy: Duration,
}

impl Processes {
    /// One that is named.
    pub fn of(pid: u32) -> Option<Self> {
        Path::new(&format!("/proc/{pid}/status")).exists().then(|| Self(vec![pid]))
    }

    /// Those that listen at an address of this machine, as far as this user may see them.
    pub fn listening(address: SocketAddr) -> Option<Self> {
        if !address.ip().is_loopback() {
            return None;
        }
        let inodes = listening_inodes(address.port());
        let all = fs::read_dir("/proc").ok()?;
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let found: Vec<u32> = pids.filter(|pid| holds(*pid, &inodes)).collect();
        (!found.is_empty()).then_some(Self(found))
    }

    /// Their numbers.
    pub fn pids(&self) -> &[u32] {
        &self.0
    }

    /// What they have cost until now.
    pub fn sample(&self) -> Sample {
        let resident_bytes = self.0.iter().filter_map(|pid| resident(*pid)).sum();
        Sample { resident_bytes, busy: self.0.iter().map(|pid| busy(*pid)).sum() }
    }
}

impl Sample {
    /// What has been spent since an earlier sample.
    pub fn busy_since(&self, before: &Self) -> Duration {
        self.busy.saturating_sub(before.busy)
    }
}

/// Sockets that listen at a port, by their inode.
fn listening_inodes(port: u16) -> Vec<String> {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, "0A", _, _, _, _, _, inode, ..] = cells[..] else { continue };
            let here = local.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
            if here == Some(port) {
                inodes.push(format!("socket:[{inode}]"));
            }
        }
    }
    inodes
}

fn holds(pid: u32, inodes: &[String]) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.any(|link| link.to_str().is_some_and(|link| inodes.iter().any(|inode| inode == link)))
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}

/// The scheduler's own count, in nanoseconds, of each thread.
fn busy(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let spent = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// What this process has spent.
pub fn own() -> Duration {
    busy(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_found_and_costs_something() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let found = Processes::listening(listener.local_addr().expect("bound")).expect("this process listens");
        assert_eq!(found.pids(), [std::process::id()]);
        let sample = found.sample();
        assert!(sample.resident_bytes > 1 << 20 && sample.busy > Duration::ZERO, "{sample:?}");
        assert_eq!(Processes::of(u32::MAX), None);
    }
}
