//! `check` and `check-trl`: the engine beside Transformers, PEFT and TRL.

use std::process::ExitCode;

use assay_model::check::{CheckReport, check, check_trl};
use assay_model::device;

use crate::{args, openmp, print};

/// Compares with golden values.
pub(crate) fn golden(args: &args::Check) -> anyhow::Result<ExitCode> {
    openmp::settle()?;
    let report = check(&args.dir, device::open(args.device.name())?)?;
    show(&report, args.json)
}

/// Compares with a trace of TRL.
pub(crate) fn trl(args: &args::CheckTrl) -> anyhow::Result<ExitCode> {
    openmp::settle()?;
    let device = device::open(args.device.name())?;
    let report = check_trl(&args.dir, &args.model, args.data.as_deref(), device)?;
    show(&report, args.json)
}

fn show(report: &CheckReport, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print::line(serde_json::to_string_pretty(report)?);
    } else {
        print::line(report);
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
