//! What teams may have, as an operator says it: `NAME=NUMBER`, where the name `*` means each team that is not named.

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

/// Puts settings together; the weight that is left out is 1, and without a limit a team may run as much as there is room for.
pub fn teams(weights: &[TeamSetting], limits: &[TeamSetting]) -> Teams {
    let mut teams = Teams::default();
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
    let other = teams.other;
    for setting in &named {
        of(&mut teams, setting, other).weight = setting.number;
    }
    for setting in &named_max {
        of(&mut teams, setting, other).running_max = Some(setting.number);
    }
    teams
}

fn of<'a>(teams: &'a mut Teams, setting: &TeamSetting, other: Team) -> &'a mut Team {
    teams.named.entry(setting.name.clone()).or_insert(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_team_is_not_told_is_what_the_others_have() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let teams = teams(&parse(&["a=3", "*=2"]), &parse(&["b=4", "*=1"]));
        assert_eq!(teams.of("a"), Team { weight: 3, running_max: Some(1) });
        assert_eq!(teams.of("b"), Team { weight: 2, running_max: Some(4) });
        assert_eq!(teams.of("c"), Team { weight: 2, running_max: Some(1) });
    }

    #[test]
    fn a_bad_setting_is_refused_with_the_rule() {
        for bad in ["a", "=1", "a=", "a=0", "a=1001", "a=-1", "a=x"] {
            let error = bad.parse::<TeamSetting>().unwrap_err();
            assert!(error.contains(&format!("`{bad}`")) && error.contains("NAME=NUMBER"), "{error}");
        }
    }
}
