//! A child process whose output is kept, whose end is awaited with a deadline, and which never outlives its test.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use parking_lot::{Condvar, Mutex};

use super::leaks::leaks;

/// What a process wrote to one of its streams so far.
#[derive(Default)]
pub struct Output {
    /// The bytes, and whether the stream has ended.
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Output {
    /// Reads a stream to its end, on a thread of its own.
    fn drain(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self::default());
        let kept = Arc::clone(&output);
        thread::spawn(move || {
            let mut chunk = [0; 8192];
            loop {
                let n = from.read(&mut chunk).unwrap_or(0);
                let mut state = kept.state.lock();
                state.0.extend_from_slice(&chunk[..n]);
                state.1 = n == 0;
                kept.changed.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        output
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.state.lock().0).into_owned()
    }

    /// All that an ended process wrote, unless somebody else holds the stream.
    pub fn last_text(&self) -> String {
        let mut state = self.state.lock();
        let deadline = Instant::now() + Duration::from_millis(500);
        while !state.1 && !self.changed.wait_until(&mut state, deadline).timed_out() {}
        String::from_utf8_lossy(&state.0).into_owned()
    }

    /// Waits until `find` finds something in the text; `None` if the stream ends or the time is up before.
    pub fn wait_for<T>(&self, within: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut state = self.state.lock();
        loop {
            if let Some(found) = find(&String::from_utf8_lossy(&state.0)) {
                return Some(found);
            }
            if state.1 || self.changed.wait_until(&mut state, deadline).timed_out() {
                return None;
            }
        }
    }

    /// Everything, once the stream has ended.
    #[track_caller]
    pub fn whole(&self, within: Duration) -> String {
        let deadline = Instant::now() + within;
        let mut state = self.state.lock();
        while !state.1 {
            assert!(!self.changed.wait_until(&mut state, deadline).timed_out(), "the output did not end");
        }
        String::from_utf8_lossy(&state.0).into_owned()
    }
}

/// A running child process.
pub struct Process {
    child: Child,
    /// Set by a thread that waits for the end without reaping, so that the pid stays ours until [`Process::wait`].
    ended: Arc<(Mutex<bool>, Condvar)>,
    status: Option<ExitStatus>,
    pub stdout: Arc<Output>,
    pub stderr: Arc<Output>,
}

impl Process {
    /// Starts `command` with its output kept. Its stdin, unless set before, is empty.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let stdout = Output::drain(child.stdout.take().expect("piped"));
        // One test gives the child something else as its stderr.
        let stderr = match child.stderr.take() {
            Some(stderr) => Output::drain(stderr),
            None => Output::drain(std::io::empty()),
        };
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let told = Arc::clone(&ended);
        let pid = Pid::from_raw(child.id().cast_signed());
        thread::spawn(move || {
            while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
            *told.0.lock() = true;
            told.1.notify_all();
        });
        Self { child, ended, status: None, stdout, stderr }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        assert!(self.status.is_none(), "the process has ended");
        kill(self.pid(), signal).expect("the process is ours");
    }

    /// Stops all its threads, and returns when none runs any more. They go on at `SIGCONT`.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid());
        let stands = |task: &std::path::Path| {
            let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
        };
        super::eventually("the process stands still", super::PROMPT, || {
            let mut threads = std::fs::read_dir(&tasks).expect("its threads").flatten();
            threads.all(|thread| stands(&thread.path())).then_some(())
        });
    }

    pub fn has_ended(&self) -> bool {
        *self.ended.0.lock()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        let (flag, changed) = &*self.ended;
        let mut ended = flag.lock();
        while !*ended {
            assert!(!changed.wait_until(&mut ended, deadline).timed_out(), "still running after {within:?}");
        }
        drop(ended);
        let status = self.child.wait().expect("it has ended and is ours");
        self.status = Some(status);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            // It may have ended by itself: then there is nothing to kill, and wait only reaps.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if !thread::panicking() {
            let leaks = leaks(&self.stderr.last_text());
            assert!(leaks.is_empty(), "in the log of {} stands what must not: {leaks:#?}", self.child.id());
        } else {
            eprintln!("--- stdout of {}\n{}", self.child.id(), last(&self.stdout.text()));
            eprintln!("--- stderr of {}\n{}", self.child.id(), last(&self.stderr.text()));
        }
    }
}

/// The last lines of a text, as many as somebody will read.
fn last(text: &str) -> String {
    const LINES: usize = 120;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
