//! The command line of `assay-judge-runner`.

use std::path::PathBuf;

use assay_agent::{AgentConfig, shell};
use assay_domain::{DeviceKind, WorkKind};
use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::judge::BATCHES_END_MAX;

/// Runs judge and report jobs.
#[derive(Debug, Parser)]
#[command(name = "assay-judge-runner", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register with a coordinator and run its judge and report jobs until told to stop.
    Run(Run),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    #[command(flatten)]
    connection: shell::Connection,
    #[command(flatten)]
    life: shell::Life,
    /// Folder for the cache, attempts and the ledger of paid calls; default: `judge-runner` in the data folder.
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// Jobs at the same time: a batch may take a day, and others must not wait for it.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    slots: u32,
    /// A file of keys that only its owner can read, one `NAME=VALUE` a line, for names that the environment does not have;
    /// default: `keys.env` in the data folder.
    #[arg(long, env = "ASSAY_KEYS_FILE")]
    keys_file: Option<PathBuf>,
}

impl Run {
    pub(crate) fn keys_file(&self) -> PathBuf {
        self.keys_file.clone().unwrap_or_else(|| self.connection.data_dir.join("keys.env"))
    }

    pub(crate) fn agent_config(&self) -> anyhow::Result<AgentConfig> {
        let coordinator = self.connection.coordinator()?;
        let introduction = shell::Introduction {
            device: DeviceKind::None,
            device_name: String::from("judge-runner"),
            memory_mib: 0,
            kinds: vec![WorkKind::Judge, WorkKind::Report],
            usd_per_hour: None,
        };
        let worker = shell::introduce(introduction, env!("CARGO_PKG_VERSION"))?;
        let work_dir = self.work_dir.clone().unwrap_or_else(|| self.connection.data_dir.join("judge-runner"));
        let mut config = AgentConfig::new(coordinator, worker, work_dir);
        config.slots = self.slots;
        // A cancelled judge waits for its batches' ends, and then stores what they gave.
        let end_ms = u64::try_from(BATCHES_END_MAX.as_millis()).unwrap_or(u64::MAX);
        config.limits.cancel_ms = config.limits.cancel_ms.saturating_add(end_ms);
        config.ends_at = self.life.ends_at();
        Ok(config)
    }
}
