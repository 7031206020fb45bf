//! What teams may have, as an operator says it: `NAME=NUMBER`, where the name `*` means each team that is not named.

use assay_domain::budget::Cap;
use assay_domain::decide::schedule::{Team, Teams, WEIGHT_MAX};

/// The name of all teams that have no setting of their own.
const OTHERS: &str = "*";

/// A setting of one team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamSetting {
    name: String,
    number: u32,
}

impl std::str::FromStr for TeamSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || {
            format!(
                "`{text}` is no setting of a team: write NAME=NUMBER, such as research=4, or *=2 for all others, with a number \
                 from 1 to {WEIGHT_MAX}"
            )
        };
        let (name, number) = text.split_once('=').ok_or_else(rule)?;
        let number = number.parse().ok().filter(|number| (1..=WEIGHT_MAX).contains(number));
        let number = number.filter(|_| !name.is_empty()).ok_or_else(rule)?;
        Ok(Self { name: name.to_owned(), number })
    }
}

/// What a team may cost in a calendar month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamBudget {
    name: String,
    budget: Cap,
}

impl std::str::FromStr for TeamBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = |why: String| {
            format!("`{text}` is no budget of a team: write NAME=BUDGET, such as research={EXAMPLE}{why}")
        };
        let (name, budget) = text.split_once('=').ok_or_else(|| rule(String::new()))?;
        if name.is_empty() {
            return Err(rule(String::new()));
        }
        let MonthBudget(budget) = budget.parse().map_err(|why| rule(format!("; {why}")))?;
        Ok(Self { name: name.to_owned(), budget })
    }
}

/// How a budget is written.
const EXAMPLE: &str = "usd:100,hours:40";

/// What all teams together may cost in a calendar month: `usd:100,hours:40`, or one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthBudget(pub Cap);

impl std::str::FromStr for MonthBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || {
            format!("`{text}` is no budget: write {EXAMPLE}, or one of the two, with numbers of 0 or more")
        };
        let (mut usd, mut hours) = (None, None);
        for part in text.split(',') {
            let (unit, number) = part.split_once(':').ok_or_else(rule)?;
            let number: f64 = number.parse().map_err(|_| rule())?;
            let place = match unit {
                "usd" => &mut usd,
                "hours" => &mut hours,
                _ => return Err(rule()),
            };
            if !(number.is_finite() && number >= 0.0) || place.replace(number).is_some() {
                return Err(rule());
            }
        }
        Ok(Self(Cap::of(usd, hours)))
    }
}

/// Puts settings together; the weight that is left out is 1, and without a limit a team may run as much as there is room for.
pub fn teams(weights: &[TeamSetting], limits: &[TeamSetting], budgets: &[TeamBudget], month: Cap) -> Teams {
    let mut teams = Teams { month, ..Teams::default() };
    // The others come first: what a named team is not told is theirs.
    let order = |settings: &[TeamSetting]| {
        let (others, named): (Vec<_>, Vec<_>) = settings.iter().cloned().partition(|one| one.name == OTHERS);
        (others, named)
    };
    let ((others, named), (others_max, named_max)) = (order(weights), order(limits));
    for setting in &others {
        teams.other.weight = setting.number;
    }
    for setting in &others_max {
        teams.other.running_max = Some(setting.number);
    }
    let (others_budget, named_budget): (Vec<_>, Vec<_>) = budgets.iter().partition(|one| one.name == OTHERS);
    for setting in others_budget {
        teams.other.budget = setting.budget;
    }
    let other = teams.other;
    for setting in &named {
        of(&mut teams, &setting.name, other).weight = setting.number;
    }
    for setting in &named_max {
        of(&mut teams, &setting.name, other).running_max = Some(setting.number);
    }
    for setting in named_budget {
        of(&mut teams, &setting.name, other).budget = setting.budget;
    }
    teams
}

fn of<'a>(teams: &'a mut Teams, name: &str, other: Team) -> &'a mut Team {
    teams.named.entry(name.to_owned()).or_insert(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_team_is_not_told_is_what_the_others_have() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let budgets = ["a=usd:2.5,hours:1", "*=hours:3"].map(|text| text.parse().unwrap());
        let month = "usd:9".parse::<MonthBudget>().unwrap().0;
        let teams = teams(&parse(&["a=3", "*=2"]), &parse(&["b=4", "*=1"]), &budgets, month);
        let (own, others) = (Cap::of(Some(2.5), Some(1.0)), Cap::of(None, Some(3.0)));
        assert_eq!(teams.of("a"), Team { weight: 3, running_max: Some(1), budget: own });
        assert_eq!(teams.of("b"), Team { weight: 2, running_max: Some(4), budget: others });
        assert_eq!(teams.of("c"), Team { weight: 2, running_max: Some(1), budget: others });
        assert_eq!(teams.month, Cap { usd_micros: Some(9_000_000), device_ms: None });
    }

    #[test]
    fn a_bad_setting_is_refused_with_the_rule() {
        for bad in ["a", "=1", "a=", "a=0", "a=1001", "a=-1", "a=x"] {
            let error = bad.parse::<TeamSetting>().unwrap_err();
            assert!(error.contains(&format!("`{bad}`")) && error.contains("NAME=NUMBER"), "{error}");
        }
        for bad in
            ["a", "=usd:1", "a=", "a=1", "a=usd:x", "a=usd:-1", "a=eur:1", "a=usd:1,usd:2", "a=usd:inf"]
        {
            let error = bad.parse::<TeamBudget>().unwrap_err();
            assert!(error.contains(&format!("`{bad}`")) && error.contains("usd:100,hours:40"), "{error}");
        }
    }
}
