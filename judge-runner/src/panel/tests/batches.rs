//! Batches of all labs, on real HTTP servers: out of order, expired, cancelled, refused, and killed at every call.

use super::*;
use crate::labs::batches::Fate;
use crate::ledger::KnownBatch;

/// The labs that have batches.
pub(super) fn labs() -> impl Iterator<Item = (Api, Name, &'static str)> {
    LABS.into_iter().filter(|(api, ..)| *api != Api::Compatible)
}

impl World {
    pub(super) fn in_batches(lab: &Lab, provider: Name, model: &str) -> Self {
        let mut world = Self::new(lab, provider, model);
        world.api.batch = true;
        world
    }

    pub(super) fn batches(&self, name: &str) -> Vec<KnownBatch> {
        self.ledger(name).lock().unwrap().batches().to_vec()
    }
}

pub(super) fn made(lab: &Lab) -> usize {
    lab.batches.lock().unwrap().made.len()
}

/// The status that a question must end with, and the batches that it is put into.
fn in_batches(api: Api, number: usize) -> (VerdictStatus, usize) {
    match number % 19 {
        // Overloaded three times over.
        2 => (VerdictStatus::Error, 3),
        _ => expected(api, number),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_end_with_every_question_accounted_for_at_half_the_price() {
    const PROMPTS: usize = 57;
    for (api, provider, model) in labs() {
        let lab = Lab::start(api, KEY, fate).await;
        let world = World::in_batches(&lab, provider, model);
        let blinded = presentations("epoch-1", PROMPTS);
        let (judged, stopped) = world.judge("epoch-1", &blinded).await;
        assert_eq!((judged.verdicts.len(), stopped, made(&lab)), (PROMPTS * 2, None, 3), "{api:?}");
        let (mut statuses, mut calls) = (BTreeMap::new(), 0);
        for number in (0..PROMPTS).flat_map(|number| [number, number]) {
            let (status, batches) = in_batches(api, number);
            *statuses.entry(status).or_insert(0) += 1;
            calls += batches;
        }
        for status in VerdictStatus::ALL {
            let wanted = statuses.get(&status).copied().unwrap_or(0);
            assert_eq!(judged.count(status), wanted, "{api:?} {status:?}: {judged:?}");
        }
        assert_eq!(
            (judged.calls, lab.verdicts.lock().unwrap().values().sum::<usize>()),
            (calls, statuses[&VerdictStatus::Ok])
        );
        check_records(&judged);
        let batches = world.batches("epoch-1");
        assert!(batches.iter().all(|batch| batch.ended && batch.id.is_some()), "{batches:?}");
        let price = judge_models::builtin().price(model).unwrap();
        for entry in world.entries("epoch-1") {
            if let Entry::Answered(one) = entry
                && one.status == VerdictStatus::Ok
            {
                let whole = price.usd(false, 1320, 210);
                assert!((one.usd.unwrap() * 2.0 - whole).abs() < 1e-12 && one.batch.is_some());
            }
        }
        // Again: what has a verdict is not asked.
        let (again, _) = world.judge("epoch-1", &blinded).await;
        assert_eq!(again.from_ledger, judged.count(VerdictStatus::Ok));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_is_asked_again_and_what_was_cancelled_is_left_until_asked_for() {
    for (api, provider, model) in labs() {
        let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
        lab.batches.lock().unwrap().fate = |number| if number == 0 { Fate::Expires } else { Fate::Ends };
        let world = World::in_batches(&lab, provider, model);
        let (judged, _) = world.judge("epoch-1", &presentations("epoch-1", 10)).await;
        assert_eq!((judged.count(VerdictStatus::Ok), made(&lab), judged.calls), (20, 2, 30), "{api:?}");

        let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
        lab.batches.lock().unwrap().fate = |number| if number == 0 { Fate::Cancelled } else { Fate::Ends };
        let world = World::in_batches(&lab, provider, model);
        let blinded = presentations("epoch-1", 10);
        let (judged, stopped) = world.judge("epoch-1", &blinded).await;
        assert_eq!(
            (judged.count(VerdictStatus::Ok), judged.count(VerdictStatus::Error)),
            (10, 10),
            "{api:?}"
        );
        assert!(stopped.is_some_and(|why| why.contains("was cancelled")), "{api:?}");
        let (judged, _) = world.judge("epoch-1", &blinded).await;
        assert_eq!((judged.count(VerdictStatus::Ok), judged.from_ledger, made(&lab)), (20, 10, 2), "{api:?}");
        assert!(lab.verdicts.lock().unwrap().values().all(|times| *times == 1), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_refused_as_a_whole_stops_its_judge_with_the_reason() {
    for (api, provider, model) in labs().filter(|(api, ..)| *api != Api::Anthropic) {
        let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
        lab.batches.lock().unwrap().fate = |_| Fate::Refused;
        let world = World::in_batches(&lab, provider, model);
        let (judged, stopped) = world.judge("epoch-1", &presentations("epoch-1", 3)).await;
        let why = stopped.unwrap();
        assert!(why.contains("limit") || why.contains("denied"), "{api:?}: {why}");
        assert_eq!((judged.count(VerdictStatus::Error), made(&lab)), (6, 1));
        let lab = Lab::start(api, "another key", |_| Says::Verdict("1")).await;
        let world = World::in_batches(&lab, provider, model);
        let (judged, stopped) = world.judge("epoch-1", &presentations("epoch-1", 3)).await;
        assert_eq!((judged.count(VerdictStatus::Error), made(&lab)), (6, 0), "{api:?} {stopped:?}");
        assert!(!format!("{stopped:?} {:?}", world.entries("epoch-1")).contains(KEY));
    }
}

/// Dropped where it waits, a run leaves what a killed process leaves: the ledger's lines, and whatever the lab has heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_no_batch_is_made_twice() {
    for (api, provider, model) in labs() {
        let mut deaths = 0;
        for heard in [false, true] {
            for number in 0.. {
                let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
                let world = World::in_batches(&lab, provider, model);
                // Somebody else's batch of the same size is in the account.
                world.judge("other", &presentations("other", 3)).await;
                let silent = lab.batches.lock().unwrap().calls + number;
                lab.batches.lock().unwrap().silent = Some((silent, heard));
                let mut silenced = lab.batches.lock().unwrap().silenced.subscribe();
                let blinded = presentations("epoch-1", 3);
                let died = tokio::select! {
                    _ = world.judge("epoch-1", &blinded) => false,
                    came = silenced.wait_for(|silenced| *silenced) => { drop(came.unwrap()); true }
                };
                let (judged, _) = world.judge("epoch-1", &blinded).await;
                let at = format!("{api:?}, call {number}, heard {heard}");
                assert_eq!((judged.count(VerdictStatus::Ok), made(&lab)), (6, 2), "{at}");
                assert!(lab.verdicts.lock().unwrap().values().all(|times| *times == 1), "{at}");
                if !died {
                    break;
                }
                deaths += 1;
            }
        }
        // Made, looked at twice, read: listed first where tags are kept, and with a file at OpenAI.
        assert!(deaths >= 2 * 4, "{api:?}: {deaths} deaths");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_lab_keeps_tags_even_a_lost_ledger_makes_no_second_batch() {
    for (api, provider, model) in labs().filter(|(api, ..)| *api != Api::Anthropic) {
        let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
        let world = World::in_batches(&lab, provider, model);
        let blinded = presentations("epoch-1", 3);
        world.judge("epoch-1", &blinded).await;
        std::fs::remove_file(world.dir.path().join(format!("{}.jsonl", job("epoch-1")))).unwrap();
        let (judged, _) = world.judge("epoch-1", &blinded).await;
        assert_eq!((judged.count(VerdictStatus::Ok), judged.calls, made(&lab)), (6, 0, 1), "{api:?}");
    }
}
