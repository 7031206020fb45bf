//! The coordinator under strace: what is to happen at which of its system calls.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A fault at a chosen system call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// The call, and what happens at which of them, as strace has it.
    pub(crate) inject: &'static str,
    /// Only calls on the journal's first segment.
    pub(crate) on_journal: bool,
}

const fn at(inject: &'static str) -> Fault {
    Fault { inject, on_journal: false }
}

const fn on_journal(inject: &'static str) -> Fault {
    Fault { inject, on_journal: true }
}

/// Killed at the start, in the middle of batches and of snapshots; a disk that fails to sync; a full disk. Nobody has the answer
/// to what was under way.
pub(crate) const FAULTS: [Fault; 20] = [
    at("fdatasync:signal=KILL:when=1"),
    at("fdatasync:signal=KILL:when=4"),
    at("fdatasync:signal=KILL:when=11"),
    at("fdatasync:signal=KILL:when=40"),
    at("rename:signal=KILL:when=1"),
    at("rename:signal=KILL:when=2"),
    at("rename:signal=KILL:when=3"),
    at("linkat:signal=KILL:when=3"),
    at("fsync:signal=KILL:when=2"),
    at("fsync:signal=KILL:when=9"),
    on_journal("write:signal=KILL:when=1"),
    on_journal("write:signal=KILL:when=3"),
    on_journal("write:signal=KILL:when=25"),
    on_journal("fdatasync:signal=KILL:when=2"),
    on_journal("fdatasync:error=EIO:when=1"),
    on_journal("fdatasync:error=EIO:when=6"),
    on_journal("fdatasync:error=EIO:when=30"),
    on_journal("write:error=ENOSPC:when=1+"),
    on_journal("write:error=ENOSPC:when=5+"),
    on_journal("write:error=EIO:when=12"),
];

/// Whether this machine has strace and lets it trace.
pub(crate) fn is_possible() -> bool {
    let tried = Command::new("strace").args(["-f", "-qq", "-e", "trace=none", "true"]).output();
    let why = match tried {
        Ok(tried) if tried.status.success() => return true,
        Ok(tried) => format!("strace may not trace here: {}", String::from_utf8_lossy(&tried.stderr).trim()),
        Err(error) => format!("strace does not start ({error}): install it (Debian's package `strace`)"),
    };
    assay_tests::skip("strace", &why);
    false
}

impl Fault {
    fn call(self) -> &'static str {
        self.inject.split(':').next().unwrap_or_default()
    }

    /// What makes a command run with this fault.
    pub(crate) fn strace(self, data_dir: &Path) -> Vec<String> {
        let mut words = vec![format!("-etrace={}", self.call()), format!("-einject={}", self.inject)];
        if self.on_journal {
            words.push(String::from("-P"));
            words.push(first_segment(data_dir).to_str().unwrap().to_owned());
        }
        words.extend(["-o", "/dev/null"].map(str::to_owned));
        words
    }
}

fn first_segment(data_dir: &Path) -> PathBuf {
    data_dir.join("journal").join("00000000000000000001.journal")
}

/// The system calls of a trace that say what became durable when, and what left when.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Vec<String>,
}

impl Trace {
    /// Reads what `strace -f -yy -s 10000000 -e trace=write,writev,sendto,sendmsg,fdatasync` wrote.
    pub(crate) fn read(path: &Path) -> Self {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        Self { lines: text.lines().map(str::to_owned).collect() }
    }

    /// Where a matrix was written to the journal, where the next sync of the journal had ended, and where its id first left on a
    /// socket.
    pub(crate) fn of_matrix(&self, id: &str) -> (usize, usize, usize) {
        let find = |from: usize, wanted: &dyn Fn(&str) -> bool| self.find(id, from, wanted);
        let written =
            find(0, &|line| line.contains("write(") && line.contains(".journal>") && line.contains(id));
        let asked = find(written, &|line| line.contains("fdatasync(") && line.contains(".journal>"));
        let synced = self.ended_well(asked);
        let left = find(0, &|line| sends(line) && line.contains(id));
        (written, synced, left)
    }

    /// The first line from here on that is wanted.
    pub(crate) fn find(&self, what: &str, from: usize, wanted: &dyn Fn(&str) -> bool) -> usize {
        let found = self.lines[from..].iter().position(|line| wanted(line));
        from + found.unwrap_or_else(|| panic!("{what}: not in the trace after line {from}"))
    }

    pub(crate) fn line(&self, place: usize) -> &str {
        &self.lines[place]
    }

    /// Where the call whose end is here began: what a call reads is told at its end, on what at its beginning.
    pub(crate) fn began(&self, ended: usize) -> usize {
        let thread = thread(&self.lines[ended]);
        match self.lines[ended].contains(" resumed>") {
            true => self.lines[..ended].iter().rposition(|line| line.starts_with(&thread)).unwrap(),
            false => ended,
        }
    }

    /// Where the call that began here ended, which must be well.
    pub(crate) fn ended_well(&self, began: usize) -> usize {
        let line = &self.lines[began];
        let ended = match line.contains("<unfinished ...>") {
            true => {
                let thread = thread(line);
                let resumed = |line: &str| line.starts_with(&thread) && line.contains(" resumed>");
                self.find(&thread, began, &resumed)
            }
            false => began,
        };
        assert!(self.lines[ended].trim_end().ends_with("= 0"), "{}", self.lines[ended]);
        ended
    }

    /// How often the journal was synced.
    pub(crate) fn syncs(&self) -> usize {
        self.lines.iter().filter(|line| line.contains("fdatasync(") && line.contains(".journal>")).count()
    }
}

/// Whether something leaves on a socket.
pub(crate) fn sends(line: &str) -> bool {
    line.contains("<TCP:[")
        && ["write(", "writev(", "sendto(", "sendmsg("].iter().any(|call| line.contains(call))
}

/// What the lines of a call's thread begin with.
fn thread(line: &str) -> String {
    format!("{} ", line.split_whitespace().next().unwrap())
}
