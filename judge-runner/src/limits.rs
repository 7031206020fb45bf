//! How fast an account may be asked: its minute's limits, as responses tell them, and how many calls may be under way.
//!
//! Pure: time is passed in, as the duration since any fixed moment. [`gate`] waits with it.

pub(crate) mod gate;
mod parallel;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

use self::parallel::Parallel;
use self::window::Window;
use crate::wire::{Cause, Seen};

/// The first wait after a failure, when the server names none; doubled each time.
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait after a failure.
const BACK_OFF_MAX: Duration = Duration::from_secs(8);
/// The longest wait after a limit was hit that the server says nothing about: a minute's limit has passed by then.
const LIMIT_BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// What a call is expected to use, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

/// The right to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    id: u64,
    started: Duration,
    /// What we had used of each limit when the call began, itself included.
    requests: u64,
    input: u64,
    output: u64,
}

/// Whether a call may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Now.
    Go(Ticket),
    /// Not before this much time has passed.
    Wait(Duration),
    /// Not before a call under way has ended.
    Full,
}

/// One account's limits.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Window,
    input: Window,
    output: Window,
    parallel: Parallel,
    closed_until: Duration,
    troubles: u32,
    next_id: u64,
}

impl Limits {
    /// Nothing known, and at most `calls_max` calls at once.
    pub(crate) fn new(calls_max: usize) -> Self {
        Self {
            requests: Window::default(),
            input: Window::default(),
            output: Window::default(),
            parallel: Parallel::new(calls_max),
            closed_until: Duration::ZERO,
            troubles: 0,
            next_id: 0,
        }
    }

    /// Asks for a call.
    pub(crate) fn turn(&mut self, now: Duration, cost: Cost) -> Turn {
        if self.parallel.is_full() {
            return Turn::Full;
        }
        let free = [
            self.requests.free_at(now, 1),
            self.input.free_at(now, cost.input),
            self.output.free_at(now, cost.output),
            self.closed_until,
        ];
        let free = free.into_iter().max().unwrap_or(now);
        if free > now {
            return Turn::Wait(free - now);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.parallel.begin();
        Turn::Go(Ticket {
            id,
            started: now,
            requests: self.requests.take(id, now, 1),
            input: self.input.take(id, now, cost.input),
            output: self.output.take(id, now, cost.output),
        })
    }

    /// A call was answered, with anything that is no trouble of the server's.
    pub(crate) fn answered(&mut self, now: Duration, ticket: Ticket, seen: &Seen, spent: Cost) {
        self.input.correct(ticket.id, spent.input);
        self.output.correct(ticket.id, spent.output);
        self.learn(now, ticket, seen);
        self.troubles = 0;
        self.parallel.succeeded();
    }

    /// A call met trouble that may pass. How long until the next, at least.
    pub(crate) fn troubled(
        &mut self,
        now: Duration,
        ticket: Ticket,
        seen: &Seen,
        cause: Cause,
        after: Option<Duration>,
    ) -> Duration {
        self.learn(now, ticket, seen);
        let longest = match cause {
            Cause::RateLimited => LIMIT_BACK_OFF_MAX,
            Cause::Overloaded | Cause::Failed => BACK_OFF_MAX,
        };
        let own = BACK_OFF_FIRST.saturating_mul(1 << self.troubles.min(10)).min(longest);
        // Calls that were under way together met the same trouble: it counts once.
        if self.parallel.troubled(now, ticket.started) {
            self.troubles += 1;
        }
        let wait = after.unwrap_or(own);
        // The whole account waits, but for a single cut connection.
        if cause != Cause::Failed {
            self.closed_until = self.closed_until.max(now + wait);
        }
        wait
    }

    /// A call was given up without an answer.
    pub(crate) fn dropped(&mut self) {
        self.parallel.end();
    }

    fn learn(&mut self, now: Duration, ticket: Ticket, seen: &Seen) {
        self.requests.learn(now, &seen.requests, ticket.started, ticket.requests);
        self.input.learn(now, &seen.input_tokens, ticket.started, ticket.input);
        self.output.learn(now, &seen.output_tokens, ticket.started, ticket.output);
    }
}
