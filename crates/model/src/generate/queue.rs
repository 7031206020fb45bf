//! What waits for a place in the batch. Answers to the same prompt by the same adapter stand together, so that the prompt
//! runs once for all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Completion, PromptRow};

/// Answers to come, prompts in the order they were given.
pub(super) struct Queue<'p> {
    prompts: VecDeque<Waiting<'p>>,
    /// Answers of the first prompt have been taken already, and others of it wait.
    is_begun: bool,
}

struct Waiting<'p> {
    ids: &'p [u32],
    adapter: Option<usize>,
    answers: VecDeque<(usize, u32)>,
}

/// Answers to one prompt that join the batch together.
pub(super) struct Joining<'p> {
    pub(super) ids: &'p [u32],
    pub(super) adapter: Option<usize>,
    /// Index of the prompt and number of the sample.
    pub(super) answers: Vec<(usize, u32)>,
    /// Others to this prompt joined before: it has run.
    pub(super) has_run: bool,
    /// Others to this prompt join later.
    pub(super) has_more: bool,
}

impl<'p> Queue<'p> {
    pub(super) fn new(prompts: &'p [PromptRow], samples: u32) -> Self {
        let mut places = BTreeMap::new();
        let mut queue = VecDeque::<Waiting<'p>>::new();
        for prompt in prompts {
            let place = *places.entry((prompt.adapter, &prompt.ids)).or_insert(queue.len());
            let answers = (0..samples).map(|sample| (prompt.index, sample));
            match queue.get_mut(place) {
                Some(waiting) => waiting.answers.extend(answers),
                None => queue.push_back(Waiting {
                    ids: &prompt.ids,
                    adapter: prompt.adapter,
                    answers: answers.collect(),
                }),
            }
        }
        Self { prompts: queue, is_begun: false }
    }

    /// Leaves answers out that are there already.
    pub(super) fn without(mut self, done: &[Completion]) -> Self {
        let there: BTreeSet<(usize, u32)> = done.iter().map(|one| (one.index, one.sample)).collect();
        for waiting in &mut self.prompts {
            waiting.answers.retain(|answer| !there.contains(answer));
        }
        self.prompts.retain(|waiting| !waiting.answers.is_empty());
        self
    }

    /// Answers in all.
    pub(super) fn len(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.answers.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }

    /// Takes as many answers as have a `free` place and whose prompts fit in one pass of `tokens_max`; a longer prompt
    /// has a pass of its own. Sorted by adapter.
    pub(super) fn take(&mut self, mut free: usize, tokens_max: usize) -> Vec<Joining<'p>> {
        let mut taken: Vec<Joining<'p>> = Vec::new();
        let mut tokens = 0;
        while let Some(front) = self.prompts.front_mut().filter(|_| free > 0) {
            let has_run = self.is_begun;
            tokens += if has_run { 0 } else { front.ids.len() };
            if !taken.is_empty() && tokens > tokens_max {
                break;
            }
            let count = free.min(front.answers.len());
            free -= count;
            let answers: Vec<_> = front.answers.drain(..count).collect();
            let has_more = !front.answers.is_empty();
            taken.push(Joining { ids: front.ids, adapter: front.adapter, answers, has_run, has_more });
            self.is_begun = has_more;
            if !has_more {
                self.prompts.pop_front();
            }
        }
        taken.sort_by_key(|joining| joining.adapter);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::FinishReason;

    fn prompt(index: usize, ids: &[u32], adapter: Option<usize>) -> PromptRow {
        PromptRow { index, ids: ids.to_vec(), adapter }
    }

    type Told = (Option<usize>, Vec<(usize, u32)>, bool, bool);

    fn told(joining: &[Joining<'_>]) -> Vec<Told> {
        let tell = |one: &Joining<'_>| (one.adapter, one.answers.clone(), one.has_run, one.has_more);
        joining.iter().map(tell).collect()
    }

    #[test]
    fn a_prompt_runs_once_for_all_its_answers() {
        let prompts = [prompt(7, &[1, 2], None), prompt(8, &[1, 2], Some(0)), prompt(9, &[1, 2], None)];
        let mut queue = Queue::new(&prompts, 2);
        assert_eq!(queue.len(), 6);
        assert_eq!(told(&queue.take(3, 100)), [(None, vec![(7, 0), (7, 1), (9, 0)], false, true)]);
        assert_eq!(
            told(&queue.take(2, 100)),
            [(None, vec![(9, 1)], true, false), (Some(0), vec![(8, 0)], false, true)]
        );
        assert!(queue.take(0, 100).is_empty());
        assert_eq!(told(&queue.take(5, 100)), [(Some(0), vec![(8, 1)], true, false)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn answers_that_are_there_are_not_waited_for() {
        let prompts = [prompt(0, &[1], None), prompt(1, &[2], None)];
        let done = |index, sample| Completion {
            index,
            sample,
            ids: vec![9],
            finish_reason: FinishReason::Length,
            seconds: 0.0,
        };
        let mut queue = Queue::new(&prompts, 2).without(&[done(0, 0), done(0, 1), done(1, 0)]);
        assert_eq!(told(&queue.take(9, 100)), [(None, vec![(1, 1)], false, false)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_pass_has_no_more_tokens_than_allowed_but_at_least_one_prompt() {
        let prompts = [prompt(0, &[1; 9], Some(1)), prompt(1, &[2; 3], Some(0)), prompt(2, &[3; 2], None)];
        let mut queue = Queue::new(&prompts, 1);
        assert_eq!(queue.take(9, 5).len(), 1);
        let second = queue.take(9, 5);
        assert_eq!(second.iter().map(|joining| joining.adapter).collect::<Vec<_>>(), [None, Some(0)]);
    }
}
