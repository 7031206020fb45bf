//! The faults arranged for a simulated disk, counted down as operations happen.

use std::collections::BTreeSet;
use std::io;

use crate::disk::{Fault, SyncSite};

#[derive(Debug, Default)]
pub(in crate::disk::crash) struct Faults {
    write: Option<(u64, io::ErrorKind)>,
    sync: Option<(u64, io::ErrorKind)>,
    stop_after: Option<u64>,
    left_out: BTreeSet<SyncSite>,
    pub(in crate::disk::crash) stopped: bool,
    pub(in crate::disk::crash) changes: u64,
}

impl Faults {
    pub(in crate::disk::crash) fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Write { after, kind } => self.write = Some((after, kind)),
            Fault::Sync { after, kind } => self.sync = Some((after, kind)),
            Fault::Stop { after } => self.stop_after = Some(after),
            Fault::LeaveOut(site) => {
                self.left_out.insert(site);
            }
        }
    }

    /// A new process: nothing goes wrong any more, but the code still lacks the syncs left out.
    pub(in crate::disk::crash) fn clear(&mut self) {
        *self = Faults {
            left_out: std::mem::take(&mut self.left_out),
            changes: self.changes,
            ..Faults::default()
        };
    }

    pub(in crate::disk::crash) fn change(&mut self) -> io::Result<()> {
        self.changes += 1;
        match &mut self.stop_after {
            Some(0) => {
                self.stopped = true;
                Err(io::Error::other("the process has stopped"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(in crate::disk::crash) fn write(&mut self) -> io::Result<()> {
        count_down(&mut self.write)
    }

    pub(in crate::disk::crash) fn sync(&mut self) -> io::Result<()> {
        count_down(&mut self.sync)
    }

    pub(in crate::disk::crash) fn left_out(&self, site: SyncSite) -> bool {
        self.left_out.contains(&site)
    }
}

fn count_down(fault: &mut Option<(u64, io::ErrorKind)>) -> io::Result<()> {
    match fault {
        Some((0, kind)) => {
            let kind = *kind;
            *fault = None;
            Err(kind.into())
        }
        Some((left, _)) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}
