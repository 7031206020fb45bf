//! The nearest name: what a person most likely meant.

/// The name with the fewest edits from `given`, when they are few for its length. Ties go to the first.
pub(crate) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let limit = given.chars().count().max(3) / 3 + 1;
    let scored = names.into_iter().map(|name| (distance(given, name), name));
    let best =
        scored.filter(|(edits, name)| *edits <= limit && *name != given).min_by_key(|(edits, _)| *edits)?;
    Some(best.1.to_owned())
}

/// Insertions, deletions, replacements and swaps of neighbours, upper and lower case alike.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_edits_are_a_slip_and_many_are_another_word() {
        assert_eq!(distance("lora-r61", "lora-r16"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("lora-r61", ["lora-r8", "lora-r16"]), Some(String::from("lora-r16")));
        assert_eq!(nearest("epoch", ["epochs", "targets"]), Some(String::from("epochs")));
        assert_eq!(nearest("banana", ["epochs", "targets"]), None);
    }
}
