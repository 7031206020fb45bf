//! Simulated minutes against servers that count in three different ways: no real time passes.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::wire::Level;

const LIMIT: u64 = 50;
const MINUTE: Duration = Duration::from_secs(60);
/// A call that used nothing.
const NOBODY: Ticket = Ticket { id: u64::MAX, started: Duration::ZERO, requests: 0, input: 0, output: 0 };

/// How a server counts 50 requests a minute.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Counting {
    /// A bucket of 50 that fills evenly.
    Bucket,
    /// The last 60 seconds.
    Sliding,
    /// Minutes that begin when they like.
    Fixed,
}

struct Server {
    counting: Counting,
    tells: bool,
    arrived: VecDeque<Duration>,
    level: f64,
    filled: Duration,
}

impl Server {
    fn new(counting: Counting, tells: bool) -> Self {
        Self { counting, tells, arrived: VecDeque::new(), level: LIMIT as f64, filled: Duration::ZERO }
    }

    /// Whether a request is let through, and what the response says about it.
    fn arrive(&mut self, at: Duration) -> (bool, Seen) {
        let offset = Duration::from_secs(17);
        let same_minute = |one: Duration| (one + offset).as_secs() / 60 == (at + offset).as_secs() / 60;
        let left = match self.counting {
            Counting::Bucket => {
                let fresh = (at - self.filled).as_secs_f64() / 60.0 * LIMIT as f64;
                self.level = (self.level + fresh).min(LIMIT as f64);
                self.filled = at;
                self.level
            }
            Counting::Sliding => {
                LIMIT as f64 - self.arrived.iter().filter(|one| at - **one < MINUTE).count() as f64
            }
            Counting::Fixed => {
                LIMIT as f64 - self.arrived.iter().filter(|one| same_minute(**one)).count() as f64
            }
        };
        let good = left >= 1.0;
        if good {
            self.level -= 1.0;
            self.arrived.push_back(at);
        }
        let remaining = if good { left - 1.0 } else { left };
        let level = Level { limit: Some(LIMIT), remaining: Some(remaining as u64), reset: Some(MINUTE) };
        (good, if self.tells { Seen { requests: level, ..Seen::default() } } else { Seen::default() })
    }

    /// The most that any client could have got through in this time, from a full start.
    fn ideal(&self, elapsed: Duration) -> u64 {
        let minutes = elapsed.as_secs_f64() / 60.0;
        match self.counting {
            Counting::Bucket => LIMIT + (minutes * LIMIT as f64) as u64,
            Counting::Sliding => LIMIT * (minutes.floor() as u64 + 1),
            Counting::Fixed => LIMIT * ((minutes + 17.0 / 60.0).floor() as u64 + 1),
        }
    }
}

/// A cheap stream of numbers below 1, the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What became of a simulation: when the last was answered, and how many were turned away.
struct Outcome {
    ended: Duration,
    turned_away: u64,
    server: Server,
}

enum Happens {
    Arrives(Ticket),
    Answered(Ticket, bool, Seen),
}

/// Sends `calls` requests with drawn delays on the way (10 to 200 ms) and at the server (0.4 to 4 s).
fn simulate(calls: u64, mut server: Server, seed: u64, known: bool) -> Outcome {
    let (mut random, mut limits) = (Random(seed), Limits::new(32));
    if known {
        let requests = Level { limit: Some(LIMIT), ..Level::default() };
        limits.learn(Duration::ZERO, NOBODY, &Seen { requests, ..Seen::default() });
    }
    let (mut now, mut left, mut turned_away, mut ended) = (Duration::ZERO, calls, 0, Duration::ZERO);
    let mut ahead: BTreeMap<(Duration, u64), Happens> = BTreeMap::new();
    let mut order = 0;
    let mut plan = |ahead: &mut BTreeMap<_, _>, at, what| {
        order += 1;
        ahead.insert((at, order), what);
    };
    while left > 0 || !ahead.is_empty() {
        let mut wake = None;
        while left > 0 {
            match limits.turn(now, Cost::default()) {
                Turn::Go(ticket) => {
                    left -= 1;
                    let at = now + Duration::from_secs_f64(0.01 + 0.19 * random.next());
                    plan(&mut ahead, at, Happens::Arrives(ticket));
                }
                Turn::Wait(wait) => {
                    wake = Some(now + wait);
                    break;
                }
                Turn::Full => break,
            }
        }
        let next = ahead.first_key_value().map(|(key, _)| *key);
        let Some(key) = next.filter(|(at, _)| wake.is_none_or(|wake| *at <= wake)) else {
            now = wake.expect("a wait or an event is ahead");
            continue;
        };
        now = key.0;
        match ahead.remove(&key).expect("it was seen") {
            Happens::Arrives(ticket) => {
                let (good, seen) = server.arrive(now);
                let at = now + Duration::from_secs_f64(if good { 0.4 + 3.6 * random.next() } else { 0.05 });
                plan(&mut ahead, at, Happens::Answered(ticket, good, seen));
            }
            Happens::Answered(ticket, true, seen) => {
                limits.answered(now, ticket, &seen, Cost::default());
                ended = now;
            }
            Happens::Answered(ticket, false, seen) => {
                turned_away += 1;
                left += 1;
                limits.troubled(now, ticket, &seen, Cause::RateLimited, Some(Duration::from_secs(5)));
            }
        }
    }
    Outcome { ended, turned_away, server }
}

#[test]
fn fifty_a_minute_are_used_to_98_percent_and_never_exceeded() {
    for counting in [Counting::Bucket, Counting::Sliding, Counting::Fixed] {
        for seed in 1..=20 {
            let calls = 2_000;
            let outcome = simulate(calls, Server::new(counting, true), seed, false);
            assert_eq!(outcome.turned_away, 0, "{counting:?} {seed}");
            // The time in which the last batch was answered is the server's, not the limit's.
            let sending = outcome.server.arrived.back().copied().unwrap();
            let ideal = outcome.server.ideal(sending);
            assert!(
                calls as f64 >= 0.98 * ideal as f64,
                "{counting:?} {seed}: {calls} of {ideal} in {sending:?}"
            );
            assert!(outcome.ended >= sending);
        }
    }
}

#[test]
fn a_limit_known_beforehand_needs_no_headers() {
    for counting in [Counting::Bucket, Counting::Sliding, Counting::Fixed] {
        let outcome = simulate(500, Server::new(counting, false), 7, true);
        assert_eq!(outcome.turned_away, 0, "{counting:?}");
    }
}

#[test]
fn a_limit_that_nobody_told_is_met_and_then_heeded() {
    let outcome = simulate(500, Server::new(Counting::Sliding, false), 7, false);
    assert!(outcome.turned_away > 0 && outcome.turned_away < 200, "{}", outcome.turned_away);
}

#[test]
fn what_others_use_of_the_account_is_left_to_them() {
    let mut limits = Limits::new(8);
    let Turn::Go(ticket) = limits.turn(Duration::ZERO, Cost::default()) else {
        panic!("nothing is known yet")
    };
    let level = Level { limit: Some(50), remaining: Some(0), reset: Some(Duration::from_secs(30)) };
    let seen = Seen { requests: level, ..Seen::default() };
    limits.answered(Duration::from_secs(1), ticket, &seen, Cost::default());
    assert_eq!(limits.turn(Duration::from_secs(1), Cost::default()), Turn::Wait(Duration::from_secs(30)));
    assert!(matches!(limits.turn(Duration::from_secs(31), Cost::default()), Turn::Go(_)));
}

#[test]
fn tokens_are_counted_as_used_and_not_as_feared() {
    let mut limits = Limits::new(8);
    let level = |limit| Level { limit: Some(limit), ..Level::default() };
    let seen = Seen { input_tokens: level(30_000), output_tokens: level(8_000), ..Seen::default() };
    limits.learn(Duration::ZERO, NOBODY, &seen);
    let cost = Cost { input: 20_000, output: 500 };
    let Turn::Go(ticket) = limits.turn(Duration::ZERO, cost) else { panic!("the minute is unused") };
    assert!(matches!(limits.turn(Duration::ZERO, cost), Turn::Wait(_)));
    limits.answered(Duration::from_secs(1), ticket, &Seen::default(), Cost { input: 5_000, output: 200 });
    assert!(matches!(limits.turn(Duration::from_secs(1), cost), Turn::Go(_)));
    // More than a whole minute's tokens go alone rather than never.
    let mut limits = Limits::new(8);
    limits.learn(Duration::ZERO, NOBODY, &Seen { input_tokens: level(1_000), ..Seen::default() });
    assert!(matches!(limits.turn(Duration::ZERO, Cost { input: 9_000, output: 0 }), Turn::Go(_)));
}

#[test]
fn trouble_halves_what_is_under_way_once_and_the_server_says_how_long() {
    let mut limits = Limits::new(32);
    let second = Duration::from_secs(1);
    let tickets: Vec<Ticket> = std::iter::from_fn(|| match limits.turn(Duration::ZERO, Cost::default()) {
        Turn::Go(ticket) => Some(ticket),
        Turn::Wait(_) | Turn::Full => None,
    })
    .collect();
    assert_eq!(tickets.len(), 4);
    for ticket in tickets {
        let wait = limits.troubled(second, ticket, &Seen::default(), Cause::Overloaded, Some(7 * second));
        assert_eq!(wait, 7 * second);
    }
    assert_eq!(limits.turn(2 * second, Cost::default()), Turn::Wait(6 * second));
    assert!(matches!(limits.turn(8 * second, Cost::default()), Turn::Go(_)));
    assert!(matches!(limits.turn(8 * second, Cost::default()), Turn::Go(_)));
    assert_eq!(limits.turn(8 * second, Cost::default()), Turn::Full);
}

#[test]
fn without_a_word_of_the_server_waits_double_up_to_their_limit() {
    let mut limits = Limits::new(1);
    let mut now = Duration::ZERO;
    let mut waits = Vec::new();
    for _ in 0..7 {
        let Turn::Go(ticket) = limits.turn(now, Cost::default()) else { panic!("one may always go") };
        now += Duration::from_millis(10);
        waits.push(limits.troubled(now, ticket, &Seen::default(), Cause::Overloaded, None).as_millis());
        now += Duration::from_secs(60);
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
}
