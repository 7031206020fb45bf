//! Processes by their ids: who started whom, and waiting until one is gone. A pidfd never means a later process.

use std::fs;
use std::os::fd::OwnedFd;

use nix::sys::signal::{self, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

/// A process that was running when it was looked up.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) command: String,
    handle: OwnedFd,
}

impl Process {
    fn open(pid: i32) -> Option<Self> {
        let handle = pidfd_open(rustix::process::Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
        Some(Self { pid, command, handle })
    }

    /// Sends a signal; a process that is gone needs none.
    pub(crate) fn signal(&self, signal: Signal) {
        let _gone_is_fine = signal::kill(nix::unistd::Pid::from_raw(self.pid), signal);
    }

    /// Whether it ends within so many seconds.
    pub(crate) fn ends_within(&self, seconds: i64) -> bool {
        let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
        let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut handles, Some(&limit)).unwrap() == 1
    }
}

/// All processes below one, its children first.
pub(crate) fn below(pid: u32) -> Vec<Process> {
    let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = vec![i32::try_from(pid).unwrap()];
    let mut next = 0;
    while next < found.len() {
        let children = parents.iter().filter(|(_, parent)| *parent == found[next]).map(|(pid, _)| *pid);
        found.extend(children.collect::<Vec<_>>());
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Process::open).collect()
}

/// The fourth field of `stat`; the second, a name in brackets, may hold anything.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
