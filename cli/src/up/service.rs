//! One of our processes: started, started again when it dies, stopped in good order.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::print;

/// How long a process may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// The pause before a process is started again: doubled each time, up to the longest.
const RESTART_FIRST: Duration = Duration::from_millis(200);
const RESTART_LONGEST: Duration = Duration::from_secs(10);
/// Starts in a row that may fail.
const RESTARTS_MAX: u32 = 10;

/// How to start a process.
pub(super) struct Service {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    /// A variable of ours that it does not get.
    withheld: Option<&'static str>,
}

impl Service {
    /// A binary that lies beside this one.
    pub(super) fn new(name: &'static str, args: &[&str], data_dir: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name(name);
        if !program.is_file() {
            bail!("`{}` is missing: build or install all binaries of assay together", program.display());
        }
        Ok(Self {
            name,
            program,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            log: data_dir.join("logs").join(format!("{name}.log")),
            withheld: None,
        })
    }

    /// The same, without a variable of this process's environment.
    pub(super) fn without(mut self, variable: &'static str) -> Self {
        self.withheld = Some(variable);
        self
    }

    /// Keeps it running until told to stop; gives up when it cannot be started many times in a row.
    pub(super) async fn keep(self, stop: CancellationToken, kill: CancellationToken) {
        let mut pause = RESTART_FIRST;
        for _ in 0..RESTARTS_MAX {
            match self.run_once(&stop, &kill).await {
                Ok(None) => return,
                Ok(Some(status)) => {
                    print::say(format!("{} ended ({status}); starting it again", self.name));
                }
                Err(error) => print::say(format!("{} cannot be started: {error:#}", self.name)),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(RESTART_LONGEST);
        }
        print::say(format!("{} is given up; see {}", self.name, self.log.display()));
    }

    /// The status of a process that ended by itself; none when it was stopped.
    async fn run_once(
        &self,
        stop: &CancellationToken,
        kill: &CancellationToken,
    ) -> anyhow::Result<Option<ExitStatus>> {
        let mut child = self.spawn()?;
        tokio::select! {
            status = child.wait() => return Ok(Some(status?)),
            () = stop.cancelled() => {}
        }
        terminate(&child);
        tokio::select! {
            _ = child.wait() => {}
            () = kill.cancelled() => child.kill().await?,
            () = tokio::time::sleep(STOP_LIMIT) => {
                print::say(format!("{} does not stop within {} s: killing it", self.name, STOP_LIMIT.as_secs()));
                child.kill().await?;
            }
        }
        Ok(None)
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = self.open_log()?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env("ASSAY_PARENT", std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: ctrl-C in the terminal reaches us alone, and we stop them in order.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(variable) = self.withheld {
            command.env_remove(variable);
        }
        if self.name != "assay-coordinator" {
            let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
            names.filter(|name| is_of_a_bucket(name)).for_each(|name| {
                command.env_remove(name);
            });
        }
        command.spawn().with_context(|| self.program.display().to_string())
    }

    fn open_log(&self) -> anyhow::Result<File> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        log.with_context(|| self.log.display().to_string())
    }
}

/// Whether a variable may hold credentials of an object store: they are for the coordinator's backups, and nobody else gets them.
fn is_of_a_bucket(name: &str) -> bool {
    let prefixes =
        ["AWS_", "AZURE_", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BEARER_TOKEN"];
    name == "SERVICE_ACCOUNT" || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // A process that is gone already needs no signal.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_buckets_are_kept_from_workers_and_keys_of_judges_are_not() {
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "AZURE_STORAGE_ACCOUNT_KEY",
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            "SERVICE_ACCOUNT",
        ] {
            assert!(is_of_a_bucket(name), "{name}");
        }
        for name in ["ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "HF_TOKEN", "PATH"] {
            assert!(!is_of_a_bucket(name), "{name}");
        }
    }
}
