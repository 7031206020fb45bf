//! The assay command: everything that a person types.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing::Instrument as _;

mod admin;
mod args;
mod budget;
mod connect;
mod counter;
mod events;
mod exit;
mod export;
mod facts;
mod fetch;
mod import_verdicts;
mod judge;
mod logs;
mod look;
mod model;
mod plan;
mod preview;
mod print;
mod records;
pub mod report;
mod resolve;
mod show_report;
mod source;
mod steer;
mod submit;
mod up;
mod view;
mod watch;

/// How long the last traces may take to be sent.
const TELEMETRY_LIMIT: Duration = Duration::from_secs(5);

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    match run(args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::say(format!("error: {error:#}"));
            exit::code_of(&error)
        }
    }
}

fn run(args: args::Args) -> anyhow::Result<()> {
    match args.command {
        args::Command::Model(model) => model::run(&model),
        args::Command::Data(args::Data::Preview(preview)) => preview::run(&preview),
        args::Command::Report(args::Report { from: Some(args::ReportFrom::Import(import)), .. }) => {
            import_verdicts::run(&import)
        }
        args::Command::Admin { args } => admin::run(&args),
        args::Command::Schema => print::json(&assay_domain::matrix::json_schema()),
        args::Command::Up(_)
        | args::Command::Run(_)
        | args::Command::Submit(_)
        | args::Command::Retry(_)
        | args::Command::Watch(_)
        | args::Command::Status(_)
        | args::Command::Logs(_)
        | args::Command::Cancel(_)
        | args::Command::Pause(_)
        | args::Command::Resume(_)
        | args::Command::Explain(_)
        | args::Command::Budget(_)
        | args::Command::Plan(_)
        | args::Command::Report(_)
        | args::Command::Events(_)
        | args::Command::Judge(_)
        | args::Command::Export(_)
        | args::Command::Fleet(_) => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(run_async(args.command))
        }
    }
}

async fn run_async(command: args::Command) -> anyhow::Result<()> {
    let telemetry = assay_telemetry::init("assay")?;
    let span = tracing::info_span!(
        assay_telemetry::names::COMMAND,
        otel.name = command.name(),
        otel.kind = "client"
    );
    let ended = run_traced(command).instrument(span).await;
    telemetry.shutdown(TELEMETRY_LIMIT).await;
    ended
}

async fn run_traced(command: args::Command) -> anyhow::Result<()> {
    match command {
        args::Command::Up(up) => up::run(&up).await,
        args::Command::Run(run) => up::run_matrix(&run).await,
        args::Command::Submit(submit) => submit::run(&submit).await,
        args::Command::Retry(retry) => submit::retry(&retry, None).await,
        args::Command::Watch(watch) => watch::run(&watch).await,
        args::Command::Status(status) => look::status(&status).await,
        args::Command::Logs(logs) => logs::run(&logs).await,
        args::Command::Cancel(cancel) => steer::cancel(&cancel).await,
        args::Command::Pause(pause) => steer::pause(&pause).await,
        args::Command::Resume(resume) => steer::resume(&resume).await,
        args::Command::Explain(explain) => steer::explain(&explain).await,
        args::Command::Budget(budget) => budget::run(&budget).await,
        args::Command::Plan(plan) => plan::run(&plan).await,
        args::Command::Report(report) => show_report::run(&report).await,
        args::Command::Events(events) => events::run(&events).await,
        args::Command::Judge(judge) => judge::run(&judge).await,
        args::Command::Fleet(args::Fleet { change: Some(change), .. }) => match change {
            args::FleetChange::Drain(drain) => steer::drain(&drain).await,
            args::FleetChange::Lift(lift) => steer::lift(&lift).await,
        },
        args::Command::Export(export) => export::run(&export).await,
        args::Command::Fleet(fleet) => look::fleet(&fleet).await,
        args::Command::Model(_)
        | args::Command::Data(_)
        | args::Command::Admin { .. }
        | args::Command::Schema => Ok(()),
    }
}
