//! The arguments of `serve`, as a configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use assay_coordinator::config::{Config, MonthBudget, TeamBudget, TeamSetting, teams};
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
    /// When a connection that says nothing is closed, in milliseconds.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    silent_socket_ms: Option<u64>,
}

impl Serve {
    pub(crate) fn config(self) -> Config {
        let mut config = Config { listen: self.listen, ..Config::new(self.data_dir) };
        let limits = &mut config.limits;
        limits.lease_ms = self.lease_ms.unwrap_or(limits.lease_ms);
        limits.reconnect_grace_ms = self.reconnect_grace_ms.unwrap_or(limits.reconnect_grace_ms);
        limits.snapshot_records = self.snapshot_records.unwrap_or(limits.snapshot_records);
        let month = self.month_budget.map(|MonthBudget(budget)| budget).unwrap_or_default();
        limits.teams = teams(&self.team_weight, &self.team_running_max, &self.team_budget, month);
        limits.history_ms = self.history_days.map_or(limits.history_ms, |days| days * DAY_MS);
        limits.silent_socket_ms = self.silent_socket_ms.unwrap_or(limits.silent_socket_ms);
        config
    }
}
