//! The arguments of `assay admin`, which hands them to this program, and how each command ends.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use assay_domain::UnixMillis;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{AdminError, BackupPlace, compact, export, verify};
use crate::clock::{Clock as _, SystemClock};
use crate::index::ProbeCommand;

const DAY_MS: u64 = 86_400_000;

/// Look after a data folder: verify, back up, restore, export, compact.
///
/// Exit codes: 0 done, 1 done but something is wrong and named, 2 it failed, 4 refused.
#[derive(Debug, Args)]
pub struct AdminArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check every file of a data folder or a backup, and name what is wrong. A coordinator may run.
    Verify {
        #[command(flatten)]
        common: Common,
        /// Check a backup instead of the data folder: a folder, or s3://BUCKET/PREFIX, gs:// or az://.
        #[arg(long, value_name = "DIR|URL")]
        backup: Option<BackupPlace>,
        /// Look at the lengths of objects only, not at their digests.
        #[arg(long)]
        quick: bool,
    },
    /// Write a backup to a new folder or below a bucket's prefix that holds nothing. A coordinator may run.
    Backup {
        /// The folder to make, or s3://BUCKET/PREFIX, gs:// or az://.
        target: BackupPlace,
        #[command(flatten)]
        common: Common,
        /// Leave out objects: after a restore, what they held is computed or uploaded again.
        #[arg(long)]
        without_objects: bool,
    },
    /// Make a data folder from a backup. It must not exist, or be empty.
    Restore {
        /// The backup: a folder, or s3://BUCKET/PREFIX, gs:// or az://.
        backup: BackupPlace,
        #[command(flatten)]
        common: Common,
        /// Take what is intact before the first damage, of a backup or of a data folder, and say what is given up.
        #[arg(long)]
        salvage: bool,
    },
    /// Write everything that is stored as JSON lines, but for secrets. A coordinator may run.
    Export {
        /// The file to make; `-` is standard output.
        target: PathBuf,
        /// The coordinator's data folder.
        #[arg(long, default_value = ".assay")]
        data_dir: PathBuf,
    },
    /// Make a stopped coordinator's folder small: a fresh snapshot and index, and no objects that nothing names.
    Compact {
        #[command(flatten)]
        common: Common,
        /// Forget matrices that ended more than so many days ago.
        #[arg(long)]
        history_days: Option<u64>,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The coordinator's data folder.
    #[arg(long, default_value = ".assay")]
    data_dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl AdminArgs {
    /// Runs the command and says how it ended.
    pub fn run(self) -> ExitCode {
        match self.command.run() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                say(io::stderr(), format_args!("error: {}", assay_domain::chain(&error)));
                ExitCode::from(if error.is_refusal() { 4 } else { 2 })
            }
        }
    }
}

impl Command {
    /// Whether nothing is wrong.
    fn run(self) -> Result<bool, AdminError> {
        let now = SystemClock::new().unix();
        match self {
            Self::Verify { common, backup, quick } => {
                let found = match &backup {
                    Some(place) => place.verify(!quick, &probe()?)?,
                    None => verify(&common.data_dir, !quick, &probe()?)?,
                };
                common.print(&found);
                Ok(found.wrong.is_empty())
            }
            Self::Backup { target, common, without_objects } => {
                let made = target.backup(&common.data_dir, !without_objects, &probe()?, now)?;
                common.print(&made);
                Ok(made.wrong_objects.is_empty())
            }
            Self::Restore { backup, common, salvage } => {
                let restored = backup.restore(&common.data_dir, salvage, now)?;
                common.print(&restored);
                Ok(restored.wrong_objects.is_empty())
            }
            Self::Export { target, data_dir } => {
                say(io::stderr(), export(&data_dir, &target, now)?);
                Ok(true)
            }
            Self::Compact { common, history_days } => {
                let ago = |days: u64| UnixMillis(now.0.saturating_sub(days.saturating_mul(DAY_MS)));
                common.print(&compact(&common.data_dir, history_days.map(ago), &probe()?, now)?);
                Ok(true)
            }
        }
    }
}

impl Common {
    fn print<T: Display + Serialize>(&self, value: &T) {
        match self.json {
            // Strings and numbers always have a JSON form.
            true => say(io::stdout(), serde_json::to_string_pretty(value).unwrap_or_default()),
            false => say(io::stdout(), value),
        }
    }
}

fn probe() -> Result<ProbeCommand, AdminError> {
    ProbeCommand::this_program().map_err(AdminError::io("find", "this program".as_ref()))
}

/// Nobody to tell is no reason to fail.
fn say(mut out: impl io::Write, text: impl Display) {
    let _ = writeln!(out, "{text}");
}
