//! One side of a comparison: a program that runs once and ends with a line of JSON (`benches/README.md`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// How idle OpenMP threads wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The library's own choice: they spin.
    Default,
    /// They sleep at once.
    Passive,
}

impl Waiting {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Passive => "passive",
        }
    }
}

/// What one run told.
pub(super) struct Sample {
    pub(super) tokens_per_s: f64,
    pub(super) peak_rss_mib: f64,
    /// The whole line, or those of all runs.
    pub(super) raw: Value,
}

/// A program with its arguments.
#[derive(Clone)]
pub(super) struct Side {
    label: &'static str,
    program: PathBuf,
    /// Between the program and what both sides share: a subcommand or a script.
    before: Vec<OsString>,
    shared: Vec<OsString>,
    /// The last arguments of each run that one sample is made of: runs of equal work.
    after: Vec<Vec<OsString>>,
    rows_flag: &'static str,
    threads: usize,
}

impl Side {
    /// What both sides share: threads, inputs, arguments, and the flag that takes the number of rows.
    pub(super) fn new(threads: usize, rows_flag: &'static str, inputs: &[&Path], arguments: &[&str]) -> Self {
        let inputs = inputs.iter().map(|path| path.as_os_str().to_owned());
        let shared = inputs.chain(arguments.iter().map(OsString::from)).collect();
        Self { label: "", program: PathBuf::new(), before: vec![], shared, after: vec![], rows_flag, threads }
    }

    pub(super) fn program(
        self,
        label: &'static str,
        program: PathBuf,
        before: [PathBuf; 1],
        after: &[Vec<OsString>],
    ) -> Self {
        let before = before.map(OsString::from).to_vec();
        Self { label, program, before, after: after.to_vec(), ..self }
    }

    pub(super) fn label(&self) -> &'static str {
        self.label
    }

    pub(super) fn run(&self, rows: u32, waiting: Waiting) -> Result<Sample> {
        let samples = self.after.iter().map(|after| self.run_once(rows, waiting, after));
        Ok(Sample::together(samples.collect::<Result<_>>()?))
    }

    fn run_once(&self, rows: u32, waiting: Waiting, after: &[OsString]) -> Result<Sample> {
        let mut command = Command::new(&self.program);
        command.args(&self.before).args(&self.shared).args([self.rows_flag, &rows.to_string()]).args(after);
        command.env("OMP_NUM_THREADS", self.threads.to_string()).env("HF_HUB_OFFLINE", "1");
        command.env("TQDM_DISABLE", "1");
        match waiting {
            Waiting::Default => command.env_remove("OMP_WAIT_POLICY").env_remove("GOMP_SPINCOUNT"),
            Waiting::Passive => command.env("OMP_WAIT_POLICY", "passive").env("GOMP_SPINCOUNT", "0"),
        };
        sample(&process::answer(&mut command)?)
            .with_context(|| format!("{} did not answer as `benches/README.md` has it", self.label))
    }
}

impl Sample {
    /// Runs of equal work, one after the other, as one: all their tokens in all their time.
    fn together(mut runs: Vec<Self>) -> Self {
        if runs.len() == 1 {
            return runs.swap_remove(0);
        }
        let time: f64 = runs.iter().map(|run| run.tokens_per_s.recip()).sum();
        Self {
            tokens_per_s: runs.len() as f64 / time,
            peak_rss_mib: runs.iter().map(|run| run.peak_rss_mib).fold(0.0, f64::max),
            raw: runs.into_iter().map(|run| run.raw).collect(),
        }
    }
}

/// Reads the last line that is a JSON object: Python libraries talk on standard output too.
fn sample(stdout: &str) -> Result<Sample> {
    let objects = stdout.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let Some(raw) = objects.into_iter().find(Value::is_object) else {
        bail!("no line of its output is a JSON object");
    };
    let number = |names: &[&str]| {
        let found = names.iter().find_map(|name| raw.get(name)?.as_f64()).filter(|value| *value > 0.0);
        found.with_context(|| format!("`{}` is missing or not above zero: {raw}", names.join("` or `")))
    };
    let tokens_per_s = number(&["tokens_per_s", "new_tokens_per_s"])?;
    let peak_rss_mib = number(&["peak_rss_mib"])?;
    Ok(Sample { tokens_per_s, peak_rss_mib, raw })
}

#[cfg(test)]
mod tests {
    use super::{Sample, sample};

    #[test]
    fn separate_runs_add_their_time_and_not_their_memory() {
        let run = |speed: f64| Sample { tokens_per_s: speed, peak_rss_mib: 10.0 * speed, raw: speed.into() };
        let both = Sample::together(vec![run(60.0), run(30.0)]);
        assert_eq!((both.tokens_per_s.round(), both.peak_rss_mib), (40.0, 600.0));
        assert_eq!(both.raw, serde_json::json!([60.0, 30.0]));
    }

    #[test]
    fn the_last_object_counts() {
        let read =
            sample("{\"loss\": 1}\ntalk\n{\"new_tokens_per_s\": 2.5, \"peak_rss_mib\": 7}\nbye\n").unwrap();
        assert_eq!((read.tokens_per_s, read.peak_rss_mib), (2.5, 7.0));
        assert!(sample("talk\n").is_err());
        assert!(sample("{\"tokens_per_s\": 0, \"peak_rss_mib\": 7}").is_err());
    }
}
