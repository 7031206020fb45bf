//! `assay up` as a child process, and all that it started; everything is killed at the end of a test, failed or not.

use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::processes::{Process, below};
use crate::world::World;

/// The longest that anything here may take before the test fails.
const LIMIT: Duration = Duration::from_secs(180);
/// Questions until a state must be there; each is a process of its own.
const QUESTIONS_MAX: u32 = 1000;

/// A running `assay up`.
pub(crate) struct Up {
    child: Child,
}

impl Up {
    /// Starts it and waits until its coordinator answers.
    pub(crate) fn start(world: &World) -> Self {
        Self::start_with(world, &[])
    }

    /// The same, with more flags.
    pub(crate) fn start_with(world: &World, flags: &[&str]) -> Self {
        let up = ["up", "--data-dir", "data", "--listen", "127.0.0.1:0", "--threads", "2"];
        let mut command = world.command(&[&up, flags].concat());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stderr.take().unwrap());
        let up = Self { child };
        // After what it logs, if it does.
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.starts_with("coordinator at ")) {
            said.push(lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("not up, and said: {said:?}")));
        }
        // The rest is read and dropped, so that it never blocks.
        std::thread::spawn(move || lines.iter().count());
        up
    }

    /// Waits until the worker and the judge-runner have registered.
    pub(crate) fn wait_for_workers(&self, world: &World) {
        let ready = (0..QUESTIONS_MAX).any(|_| {
            let fleet = world.json(&["fleet"]);
            fleet.as_array().unwrap().iter().filter(|worker| worker["connected"] == true).count() == 2
        });
        assert!(ready, "no worker and judge-runner after {QUESTIONS_MAX} questions");
    }

    /// All processes that it started, and theirs.
    pub(crate) fn processes(&self) -> Vec<Process> {
        below(self.child.id())
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let started = self.processes();
        let _gone_is_fine = self.child.kill();
        let _gone_is_fine = self.child.wait();
        for process in started {
            process.signal(Signal::SIGKILL);
        }
    }
}

/// A running command that prints a line for each thing that happens.
pub(crate) struct Follow {
    child: Child,
    lines: Receiver<String>,
}

impl Follow {
    /// Starts `assay ARGS` on the data folder.
    pub(crate) fn start(world: &World, args: &[&str]) -> Self {
        let mut command = world.command(&[args, &["--data-dir", "data"]].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line; none after the last.
    pub(crate) fn next(&self) -> Option<String> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing has happened in {} s", LIMIT.as_secs()),
        }
    }

    /// Drops the rest of the lines; the exit status.
    pub(crate) fn end(mut self) -> ExitStatus {
        while self.next().is_some() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _gone_is_fine = self.child.kill();
        let _gone_is_fine = self.child.wait();
    }
}

/// The lines of a pipe, read by a thread so that waiting for one has a limit.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(64);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
