//! `assay-judge-runner`: judge jobs against API judges, and report jobs. The only process that reads LLM keys.

use std::process::ExitCode;
use std::time::Duration;

use assay_agent::shell;
use clap::Parser;

mod args;
mod executor;
mod files;
mod judge;
mod keys;
#[cfg(test)]
#[path = "../tests/labs/server.rs"]
mod labs;
mod ledger;
mod limits;
mod panel;
mod provider;
mod report;
mod wire;

/// How long the last traces may take to be sent.
const TELEMETRY_LIMIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run(args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: args::Args) -> anyhow::Result<()> {
    let args::Command::Run(args) = args.command;
    shell::end_with_parent()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let telemetry = assay_telemetry::init("assay-judge-runner")?;
        let config = args.agent_config()?;
        let keys = keys::KeyRing::new(Some(args.keys_file()));
        let judging = judge::Judging::new(config.work_dir.join("ledger"), keys)?;
        let ended = assay_agent::run(config, executor::Runner { judging }, shell::stop_on_signals()?).await;
        telemetry.shutdown(TELEMETRY_LIMIT).await;
        ended.map_err(anyhow::Error::from)
    })
}

#[expect(clippy::print_stderr, reason = "the one place where an error meets the person")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
