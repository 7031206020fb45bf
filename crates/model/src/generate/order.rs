//! Which row lies where: rows of an adapter together, so that it is applied to one range of the batch.

use std::collections::BTreeMap;

/// Given the group of every row, none for a row that leaves: for each place of the rows that stay, the place it comes
/// from, such that groups lie together and in order. As many rows as can stay where they are.
pub(super) fn regroup<G: Ord + Copy>(groups: &[Option<G>]) -> Vec<usize> {
    let mut wanted: Vec<G> = groups.iter().flatten().copied().collect();
    wanted.sort_unstable();
    let fits = |place: usize| wanted.get(place).copied() == groups[place];
    let mut moving: BTreeMap<G, Vec<usize>> = BTreeMap::new();
    for (place, group) in groups.iter().enumerate().filter(|(place, _)| !fits(*place)) {
        if let Some(group) = group {
            moving.entry(*group).or_default().push(place);
        }
    }
    let mut source = |place: usize| moving.get_mut(&wanted[place]).and_then(Vec::pop);
    // Every place that does not fit takes one of as many rows that do not fit where they are.
    (0..wanted.len()).map(|place| if fits(place) { place } else { source(place).unwrap_or(place) }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::regroup;

    #[test]
    fn the_last_row_fills_a_hole_where_there_is_one_group() {
        assert_eq!(regroup(&[Some(0), None, Some(0), Some(0)]), [0, 3, 2]);
        assert_eq!(regroup::<u8>(&[None, None]), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn groups_lie_together_and_nothing_is_lost(groups in prop::collection::vec(prop::option::of(0_u8..4), 0..40)) {
            let order = regroup(&groups);
            let left: BTreeSet<usize> = (0..groups.len()).filter(|place| groups[*place].is_some()).collect();
            prop_assert_eq!(order.len(), left.len());
            prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), left);
            let arranged: Vec<_> = order.iter().map(|place| groups[*place]).collect();
            prop_assert!(arranged.is_sorted());
            for place in 0..order.len() {
                prop_assert!(order[place] == place || groups[place] != arranged[place], "moved without need");
            }
        }
    }
}
