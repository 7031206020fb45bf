//! Which prompts of a file a prompt set takes.

use std::collections::{BTreeMap, BTreeSet};

use super::{PromptRecord, PromptSet};

/// Something that a prompt set asks for and its file does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPrompts {
    /// The field and what in it: `take/in-domain`, `ids/3`.
    pub field: String,
    /// What was asked for.
    pub what: String,
    /// What there is.
    pub rule: String,
    /// Names that would be right.
    pub known: Vec<String>,
}

/// The prompts taken, as positions in `records`, in the file's order: all, the named ones, or for each split (or domain)
/// of `take` that many, spread evenly over its domains from the file's start.
pub fn select_prompts(set: &PromptSet, records: &[PromptRecord]) -> Result<Vec<usize>, Vec<MissingPrompts>> {
    match (&set.ids, &set.take) {
        (Some(ids), _) => by_id(ids, records),
        (None, Some(take)) => by_share(take, records),
        (None, None) => Ok((0..records.len()).collect()),
    }
}

fn by_id(ids: &[String], records: &[PromptRecord]) -> Result<Vec<usize>, Vec<MissingPrompts>> {
    let places: BTreeMap<&str, usize> =
        records.iter().enumerate().map(|(place, record)| (record.id.as_str(), place)).collect();
    let missing: Vec<_> = (ids.iter().enumerate())
        .filter(|(_, id)| !places.contains_key(id.as_str()))
        .map(|(place, id)| MissingPrompts {
            field: format!("ids/{place}"),
            what: format!("prompt `{id}` is not in the file"),
            rule: format!("use ids of its {} prompts", records.len()),
            known: records.iter().map(|record| record.id.clone()).collect(),
        })
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let taken: BTreeSet<usize> = ids.iter().filter_map(|id| places.get(id.as_str()).copied()).collect();
    Ok(taken.into_iter().collect())
}

fn by_share(
    take: &BTreeMap<String, u32>,
    records: &[PromptRecord],
) -> Result<Vec<usize>, Vec<MissingPrompts>> {
    let (mut taken, mut missing) = (BTreeSet::new(), Vec::new());
    for (group, count) in take {
        let of_split = records.iter().any(|record| record.split == *group);
        let members: Vec<usize> = (records.iter().enumerate())
            .filter(|(_, record)| if of_split { record.split == *group } else { record.domain == *group })
            .map(|(place, _)| place)
            .collect();
        let field = format!("take/{group}");
        if members.is_empty() {
            let known = groups(records);
            let rule = format!("use one of {}", quoted(&known));
            let what = format!("no prompt has the split or domain `{group}`");
            missing.push(MissingPrompts { field, what, rule, known });
        } else if members.len() < *count as usize {
            let what = format!("{count} prompts of `{group}` were asked for");
            missing.push(MissingPrompts {
                field,
                what,
                rule: format!("the file has {}", members.len()),
                known: Vec::new(),
            });
        } else {
            taken.extend(spread(&members, records, *count as usize));
        }
    }
    if missing.is_empty() { Ok(taken.into_iter().collect()) } else { Err(missing) }
}

/// One of each domain in turn, until there are `count`.
fn spread(members: &[usize], records: &[PromptRecord], count: usize) -> Vec<usize> {
    let mut domains: Vec<(&str, Vec<usize>)> = Vec::new();
    for &place in members {
        let Some(record) = records.get(place) else { continue };
        match domains.iter_mut().find(|(domain, _)| *domain == record.domain) {
            Some((_, places)) => places.push(place),
            None => domains.push((&record.domain, vec![place])),
        }
    }
    let rounds = domains.iter().map(|(_, places)| places.len()).max().unwrap_or(0);
    let in_turn =
        (0..rounds).flat_map(|round| domains.iter().filter_map(move |(_, places)| places.get(round)));
    in_turn.copied().take(count).collect()
}

fn groups(records: &[PromptRecord]) -> Vec<String> {
    let splits = records.iter().map(|record| &record.split);
    let names: BTreeSet<&String> = splits.chain(records.iter().map(|record| &record.domain)).collect();
    names.into_iter().cloned().collect()
}

pub(super) fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(domains: &[(&str, &str, usize)]) -> Vec<PromptRecord> {
        let of = |(domain, split, count): &(&str, &str, usize)| {
            let record = |number: usize| PromptRecord {
                id: format!("{domain}-{number}"),
                domain: (*domain).to_owned(),
                split: (*split).to_owned(),
                tokens: BTreeMap::new(),
            };
            (1..=*count).map(record).collect::<Vec<_>>()
        };
        domains.iter().flat_map(of).collect()
    }

    fn taken(take: &[(&str, u32)], records: &[PromptRecord]) -> Result<Vec<String>, Vec<MissingPrompts>> {
        let take = take.iter().map(|(group, count)| ((*group).to_owned(), *count)).collect();
        let set = PromptSet {
            name: String::from("eval"),
            file: String::from("p.jsonl"),
            take: Some(take),
            ids: None,
            system: None,
        };
        Ok(select_prompts(&set, records)?.into_iter().map(|place| records[place].id.clone()).collect())
    }

    #[test]
    fn a_share_is_spread_evenly_over_domains() {
        let records =
            records(&[("a", "in", 3), ("b", "in", 1), ("c", "in", 3), ("x", "out", 2), ("y", "out", 2)]);
        let ids = taken(&[("in", 5), ("out", 3)], &records).unwrap();
        assert_eq!(ids, ["a-1", "a-2", "b-1", "c-1", "c-2", "x-1", "x-2", "y-1"]);
        assert_eq!(taken(&[("c", 1)], &records).unwrap(), ["c-1"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let records = records(&[("a", "in", 3)]);
        let missing = taken(&[("inn", 1), ("a", 4)], &records).unwrap_err();
        assert_eq!(missing.len(), 2);
        assert_eq!(missing[0].rule, "the file has 3");
        assert_eq!(missing[1].known, ["a", "in"]);
    }
}
