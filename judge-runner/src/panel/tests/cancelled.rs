//! The job is cancelled while a batch runs: so is the batch, and what it had answered is kept.

use super::batches::{labs, made};
use super::*;
use crate::labs::batches::Fate;

impl World {
    /// What is done for a job that was cancelled; its notes.
    async fn cancel(&self, name: &str, blinded: &Blinded) -> Vec<String> {
        let keys = KeyRing::new(Some(self.dir.path().join("keys.env")));
        let server = provider::server(&self.api, &keys).unwrap();
        let (ledger, template) = (self.ledger(name), template("assay-v1").unwrap());
        let mut panelist = Panelist::new(name, &self.api, template, &server, &self.gate, &ledger).unwrap();
        panelist.job = Some(job(name));
        panelist.cancel_batches(&blinded.presentations).await.unwrap()
    }
}

/// Asks until the lab's batch was looked at, and is then dropped as a cancelled attempt's run is.
async fn asked_until_looked_at(world: &World, lab: &Lab, blinded: &Blinded) {
    let mut looked = lab.batches.lock().unwrap().looked.subscribe();
    tokio::select! {
        _ = world.judge("epoch-1", blinded) => panic!("the batch runs until it is cancelled"),
        came = looked.wait_for(|looks| *looks > 0) => drop(came.unwrap()),
    }
}

/// The first batch, of ten pairs, runs; later ones end.
async fn running(api: Api, provider: Name, model: &str) -> (Lab, World, Blinded) {
    let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
    lab.batches.lock().unwrap().fate = |number| if number == 0 { Fate::Runs } else { Fate::Ends };
    let world = World::in_batches(&lab, provider, model);
    let blinded = presentations("epoch-1", 10);
    asked_until_looked_at(&world, &lab, &blinded).await;
    (lab, world, blinded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_batch_is_cancelled_its_answers_are_kept_and_the_rest_is_asked_when_tried_again() {
    for (api, provider, model) in labs() {
        let (lab, world, blinded) = running(api, provider, model).await;
        let notes = world.cancel("epoch-1", &blinded).await;
        assert!(
            notes[0].contains("the lab cancels it") && notes[1].contains("10 answers"),
            "{api:?} {notes:?}"
        );
        assert_eq!(lab.batches.lock().unwrap().cancelled, 1, "{api:?}");
        let [batch] = &world.batches("epoch-1")[..] else { panic!("one batch") };
        assert!(batch.ended && batch.cancelled, "{api:?} {batch:?}");
        let stops = world.entries("epoch-1").into_iter().filter(|entry| matches!(entry, Entry::Stopped(_)));
        assert_eq!(stops.count(), 0, "{api:?}: a judge is not stopped by its own cancel");
        // Nothing runs any more.
        assert_eq!(world.cancel("epoch-1", &blinded).await, Vec::<String>::new());

        let (judged, stopped) = world.judge("epoch-1", &blinded).await;
        assert_eq!((judged.count(VerdictStatus::Ok), judged.from_ledger, stopped), (20, 10, None), "{api:?}");
        assert_eq!(made(&lab), 2);
        assert!(lab.verdicts.lock().unwrap().values().all(|times| *times == 1), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_late_is_taken_in_by_whoever_tries_again() {
    for (api, provider, model) in labs() {
        let (lab, world, blinded) = running(api, provider, model).await;
        // The process ends after the lab was told.
        let looks = *lab.batches.lock().unwrap().looked.borrow();
        let mut looked = lab.batches.lock().unwrap().looked.subscribe();
        tokio::select! {
            _ = world.cancel("epoch-1", &blinded) => panic!("the lab needs a second look to end it"),
            came = looked.wait_for(|now| *now > looks) => drop(came.unwrap()),
        }
        let (judged, stopped) = world.judge("epoch-1", &blinded).await;
        assert_eq!((judged.count(VerdictStatus::Ok), stopped, made(&lab)), (20, None, 2), "{api:?}");
        assert!(lab.verdicts.lock().unwrap().values().all(|times| *times == 1), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_ended_meanwhile_is_taken_in_and_one_whose_making_was_not_heard_of_is_found() {
    for (api, provider, model) in labs() {
        let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
        let world = World::in_batches(&lab, provider, model);
        let blinded = presentations("epoch-1", 3);
        asked_until_looked_at(&world, &lab, &blinded).await;
        lab.batches.lock().unwrap().end(0);
        let notes = world.cancel("epoch-1", &blinded).await;
        assert!(
            notes[0].contains("does not cancel it") && notes[1].contains("6 answers"),
            "{api:?} {notes:?}"
        );
        let (judged, _) = world.judge("epoch-1", &blinded).await;
        assert_eq!((judged.from_ledger, made(&lab)), (6, 1), "{api:?}");
    }
    // Where a lab keeps no tags, such a batch is known by its results alone: it is not cancelled, and taken in later.
    for (api, provider, model) in labs().filter(|(api, ..)| *api != Api::Anthropic) {
        let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
        let world = World::in_batches(&lab, provider, model);
        let blinded = presentations("epoch-1", 3);
        let mut silenced = {
            let mut batches = lab.batches.lock().unwrap();
            batches.fate = |_| Fate::Runs;
            // Listed first; at OpenAI a file goes before.
            batches.silent = Some((if api == Api::Gemini { 1 } else { 2 }, true));
            batches.silenced.subscribe()
        };
        tokio::select! {
            _ = world.judge("epoch-1", &blinded) => panic!("the making is never heard of"),
            came = silenced.wait_for(|silenced| *silenced) => drop(came.unwrap()),
        }
        let notes = world.cancel("epoch-1", &blinded).await;
        let cancelled = lab.batches.lock().unwrap().cancelled;
        assert_eq!((cancelled, made(&lab)), (1, 1), "{api:?} {notes:?}");
        assert!(world.batches("epoch-1")[0].ended);
    }
}
