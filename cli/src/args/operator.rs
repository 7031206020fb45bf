//! What an operator tells the coordinator at its start: handed over as it is, and checked there.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// Settings of the coordinator; `assay-coordinator serve --help` says more of each.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Operator {
    /// TEAM=NUMBER: a team of weight 2 gets twice as many turns as one of weight 1; `*` is each team not named.
    #[arg(long, value_name = "TEAM=NUMBER")]
    team_weight: Vec<String>,
    /// TEAM=NUMBER: how many jobs a team may run at once; `*` is each team not named.
    #[arg(long, value_name = "TEAM=NUMBER")]
    team_running_max: Vec<String>,
    /// TEAM=BUDGET, such as research=usd:100,hours:40: what a team may cost in a calendar month; `*` is each team not named.
    #[arg(long, value_name = "TEAM=BUDGET")]
    team_budget: Vec<String>,
    /// What all teams together may cost in a calendar month, such as usd:500,hours:200.
    #[arg(long, value_name = "BUDGET")]
    month_budget: Option<String>,
    /// Finished matrices are forgotten so many days after their end; all are kept without it.
    #[arg(long)]
    history_days: Option<u64>,
    /// Takes backups by itself: the folder for them, on another disk than the data folder, or a bucket's prefix (s3://BUCKET/PREFIX,
    /// gs://, az://) with credentials from the environment.
    #[arg(long, value_name = "DIR|URL", requires = "backup_every")]
    backup_to: Option<PathBuf>,
    /// From one backup to the next, such as 6h, 30m or 1d.
    #[arg(long, value_name = "TIME", requires = "backup_to")]
    backup_every: Option<String>,
    /// How many backups are kept; 7 when left out.
    #[arg(long, value_name = "N", requires = "backup_to")]
    backup_keep: Option<u64>,
}

impl Operator {
    /// As arguments of `assay-coordinator serve`.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let Self { team_weight, team_running_max, team_budget, month_budget, .. } = self;
        let days = self.history_days.map(|days| days.to_string());
        let to = self.backup_to.as_ref().map(|folder| folder.display().to_string());
        let keep = self.backup_keep.map(|keep| keep.to_string());
        let many = [
            ("--team-weight", team_weight.as_slice()),
            ("--team-running-max", team_running_max),
            ("--team-budget", team_budget),
            ("--month-budget", month_budget.as_slice()),
            ("--history-days", days.as_slice()),
            ("--backup-to", to.as_slice()),
            ("--backup-every", self.backup_every.as_slice()),
            ("--backup-keep", keep.as_slice()),
        ];
        // In one word, so that a value that begins with a dash stays one.
        let given =
            many.iter().flat_map(|(flag, values)| values.iter().map(move |value| format!("{flag}={value}")));
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        operator: Operator,
    }

    #[test]
    fn all_that_was_given_is_handed_over_in_its_order() {
        let given = [
            "--team-weight=a=2",
            "--team-weight=*=1",
            "--team-running-max=a=3",
            "--team-budget=a=usd:1",
            "--month-budget=hours:2",
            "--history-days=30",
            "--backup-to=/b",
            "--backup-every=6h",
            "--backup-keep=3",
        ];
        let flags = Flags::try_parse_from(std::iter::once("up").chain(given)).unwrap();
        assert_eq!(flags.operator.to_args(), given);
        assert!(Flags::try_parse_from(["up"]).unwrap().operator.to_args().is_empty());
    }
}
