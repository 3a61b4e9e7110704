//! The command line as a person or a script uses it.

use std::{io::Write, process::Stdio, thread, time::Duration};

use super::{
    leaks,
    process::{Output, Process},
    relay::command,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Fails unless it ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Its output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Starts `x0-relay ARGS`.
#[track_caller]
pub fn start(args: &[&str]) -> Process {
    let mut command = command();
    command.args(args).stdin(Stdio::null()).stderr(Stdio::piped());
    Process::spawn(command)
}

/// Runs `x0-relay ARGS` to its end.
#[track_caller]
pub fn run(args: &[&str]) -> Done {
    let done = finish(start(args));
    if matches!(args, ["token", made, ..] if *made != "public") {
        leaks::know_made(&done.stdout);
    }
    done
}

/// The same with something on its stdin.
#[track_caller]
pub fn run_with_input(args: &[&str], input: &str) -> Done {
    let (read, mut write) = std::io::pipe().expect("a pipe");
    let mut command = command();
    command.args(args).stdin(read).stderr(Stdio::piped());
    let process = Process::spawn(command);
    let input = input.to_owned();
    // A command that does not read its input closes it: that is its right.
    let writer = thread::spawn(move || drop(write.write_all(input.as_bytes())));
    let done = finish(process);
    writer.join().expect("only writes");
    done
}

/// Waits for the end and takes the output.
#[track_caller]
pub fn finish(mut process: Process) -> Done {
    let status = process.wait(PATIENCE);
    let text = |output: &Output| output.whole(PATIENCE);
    let (stdout, stderr) = (text(&process.stdout), text(&process.stderr));
    Done { code: status.code().unwrap_or(-1), stdout, stderr }
}
