//! The arguments of `serve`, as a configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use assay_coordinator::admin::{BackupPlace, BackupSchedule};
use assay_coordinator::config::{Config, MonthBudget, TeamBudget, TeamSetting, teams};
use assay_coordinator::hub::HubAccess;
use clap::Args;

const DAY_MS: u64 = 86_400_000;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The folder that holds everything; made when it is not there.
    #[arg(long, env = "ASSAY_DATA_DIR", default_value = ".assay")]
    data_dir: PathBuf,
    /// Where to listen: loopback only; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:7717")]
    listen: SocketAddr,
    /// How long a lease lasts from each renewal, in milliseconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
    lease_ms: Option<u64>,
    /// How long after its connection closed a worker may come back, in milliseconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    reconnect_grace_ms: Option<u64>,
    /// How many records the journal takes between two snapshots.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    snapshot_records: Option<u64>,
    /// TEAM=NUMBER: a team of weight 2 gets twice as many turns as one of weight 1; `*` is each team not named.
    #[arg(long, value_name = "TEAM=NUMBER")]
    team_weight: Vec<TeamSetting>,
    /// TEAM=NUMBER: how many jobs a team may run at once; `*` is each team not named.
    #[arg(long, value_name = "TEAM=NUMBER")]
    team_running_max: Vec<TeamSetting>,
    /// TEAM=BUDGET, such as research=usd:100,hours:40: what a team may cost in a calendar month (UTC); `*` is each team not named.
    #[arg(long, value_name = "TEAM=BUDGET")]
    team_budget: Vec<TeamBudget>,
    /// What all teams together may cost in a calendar month (UTC), such as usd:500,hours:200.
    #[arg(long, value_name = "BUDGET")]
    month_budget: Option<MonthBudget>,
    /// Finished matrices are forgotten so many days after their end; all are kept without it.
    #[arg(long, env = "ASSAY_HISTORY_DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    history_days: Option<u64>,
    /// Takes backups by itself: the folder for them, on another disk than the data folder, or a bucket's prefix, such as
    /// s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, with credentials from the environment.
    #[arg(long, value_name = "DIR|URL", requires = "backup_every")]
    backup_to: Option<BackupPlace>,
    /// From one backup to the next, such as 6h, 30m or 1d.
    #[arg(long, value_name = "TIME", requires = "backup_to", value_parser = duration_ms)]
    backup_every: Option<u64>,
    /// How many backups are kept; the oldest go once a newer one was read back.
    #[arg(long, value_name = "N", requires = "backup_to", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    backup_keep: u64,
    /// When a connection that says nothing is closed, in milliseconds.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    silent_socket_ms: Option<u64>,
}

impl Serve {
    pub(crate) fn config(self) -> Config {
        // Out of the environment, and no flag: a list of processes shows flags.
        let variable = |name| std::env::var(name).ok();
        let hub = HubAccess::new(variable("HF_ENDPOINT"), variable("HF_TOKEN"));
        let mut config = Config { listen: self.listen, hub, ..Config::new(self.data_dir) };
        let limits = &mut config.limits;
        limits.lease_ms = self.lease_ms.unwrap_or(limits.lease_ms);
        limits.reconnect_grace_ms = self.reconnect_grace_ms.unwrap_or(limits.reconnect_grace_ms);
        limits.snapshot_records = self.snapshot_records.unwrap_or(limits.snapshot_records);
        let month = self.month_budget.map(|MonthBudget(budget)| budget).unwrap_or_default();
        limits.teams = teams(&self.team_weight, &self.team_running_max, &self.team_budget, month);
        limits.history_ms = self.history_days.map_or(limits.history_ms, |days| days * DAY_MS);
        limits.silent_socket_ms = self.silent_socket_ms.unwrap_or(limits.silent_socket_ms);
        let keep = usize::try_from(self.backup_keep).unwrap_or(usize::MAX);
        let schedule = self.backup_to.zip(self.backup_every);
        config.backups = schedule.map(|(to, every_ms)| BackupSchedule { to, every_ms, keep });
        config
    }
}

/// A whole number with its unit.
fn duration_ms(text: &str) -> Result<u64, String> {
    let rule =
        || String::from("write a whole number with its unit, such as 6h, 30m, 90s or 1d, from 1s to 365d");
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => DAY_MS,
        Some(_) | None => return Err(rule()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| rule())?;
    let ms = number.checked_mul(unit_ms).filter(|ms| (1_000..=365 * DAY_MS).contains(ms));
    ms.ok_or_else(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_range() {
        assert_eq!(duration_ms("6h"), Ok(21_600_000));
        assert_eq!(duration_ms("90s"), Ok(90_000));
        for bad in ["", "h", "6", "0s", "-1h", "1.5h", "366d", "6 h", "6ö", "99999999999999999999d"] {
            assert!(duration_ms(bad).unwrap_err().contains("such as 6h"), "{bad}");
        }
    }
}
