//! What all prompts of an adapter begin with, such as the system text of a template: it runs once for all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::PromptRow;
use super::cache::Prefix;

/// A pass reads all weights, however few tokens it has: so many saved tokens are worth one more pass.
const SAVED_MIN: usize = 64;

/// By adapter.
pub(super) struct Beginnings(BTreeMap<Option<usize>, Beginning>);

/// The first tokens of all prompts of an adapter.
pub(super) struct Beginning {
    pub(super) ids: Vec<u32>,
    /// Once they have run.
    pub(super) prefix: Option<Prefix>,
}

impl Beginnings {
    pub(super) fn of(prompts: &[PromptRow]) -> Self {
        let mut by_adapter = BTreeMap::<_, BTreeSet<&[u32]>>::new();
        for prompt in prompts {
            by_adapter.entry(prompt.adapter).or_default().insert(&prompt.ids);
        }
        let worth = |(adapter, prompts): (_, BTreeSet<&[u32]>)| {
            let ids = common(&prompts);
            let saved = ids.len() * (prompts.len() - 1);
            (saved >= SAVED_MIN).then(|| (adapter, Beginning { ids: ids.to_vec(), prefix: None }))
        };
        Self(by_adapter.into_iter().filter_map(worth).collect())
    }

    /// Of this adapter's prompts, if they have one.
    pub(super) fn get(&self, adapter: Option<usize>) -> Option<&Beginning> {
        self.0.get(&adapter)
    }

    /// Those that have not run.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = (Option<usize>, &mut Beginning)> {
        let all = self.0.iter_mut().map(|(adapter, beginning)| (*adapter, beginning));
        all.filter(|(_, beginning)| beginning.prefix.is_none())
    }
}

/// The longest beginning of all of them that leaves each at least one token of its own.
fn common<'p>(prompts: &BTreeSet<&'p [u32]>) -> &'p [u32] {
    // In a sorted set all others lie between the first and the last.
    let (Some(first), Some(last)) = (prompts.first(), prompts.last()) else {
        return &[];
    };
    let alike = first.iter().zip(*last).take_while(|(one, other)| one == other).count();
    &first[..alike.min(first.len().saturating_sub(1))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(prompts: &[(&[u32], Option<usize>)]) -> Vec<(Option<usize>, usize)> {
        let rows = prompts.iter().enumerate();
        let rows: Vec<PromptRow> = rows
            .map(|(index, (ids, adapter))| PromptRow { index, ids: ids.to_vec(), adapter: *adapter })
            .collect();
        Beginnings::of(&rows).0.into_iter().map(|(adapter, one)| (adapter, one.ids.len())).collect()
    }

    #[test]
    fn each_prompt_keeps_a_token_of_its_own() {
        let long = [7; 70];
        assert_eq!(lengths(&[(&long, None), (&long[..66], None)]), [(None, 65)]);
        assert_eq!(
            lengths(&[(&[&long[..], &[1]].concat(), None), (&[&long[..], &[2]].concat(), None)]),
            [(None, 70)]
        );
    }

    #[test]
    fn a_pass_for_few_tokens_or_equal_prompts_is_not_worth_it() {
        let long = [7; 70];
        assert!(lengths(&[(&long, None), (&long, None)]).is_empty());
        assert!(lengths(&[(&long, None), (&long, Some(0))]).is_empty());
        assert!(lengths(&[(&long[..60], None), (&long[..59], None)]).is_empty());
        assert!(lengths(&[(&long, None), (&[8], None)]).is_empty());
        assert!(lengths(&[]).is_empty());
    }
}
