//! Named, timed steps with a summary.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::ui;

/// The steps done so far.
#[derive(Default)]
pub(super) struct Steps {
    done: Vec<Done>,
}

struct Done {
    name: &'static str,
    time: Duration,
    ok: bool,
}

impl Steps {
    /// Runs one step; `None` where it failed, after saying how.
    pub(super) fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        ui::say(format!("--- {name}"));
        let (outcome, time) = ui::timed(work);
        self.done.push(Done { name, time, ok: outcome.is_ok() });
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                ui::failure(&error);
                None
            }
        }
    }

    /// Says what was done; an error where any step failed.
    pub(super) fn finish(self) -> Result<()> {
        ui::say("--- summary");
        for Done { name, time, ok } in &self.done {
            ui::say(format!("{name:12} {:>12}  {}", ui::human(*time), if *ok { "ok" } else { "FAILED" }));
        }
        let failed: Vec<_> = self.done.iter().filter(|step| !step.ok).map(|step| step.name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}
