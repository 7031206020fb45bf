//! A judge asks for more before it spends more than it may, and stops where there is no more.

use std::sync::Mutex as StdMutex;

use assay_agent::Failure;
use assay_domain::job::FailureClass;
use futures::future::BoxFuture;

use super::*;
use crate::panel::purse::Purse;

/// Gives steps of money until nothing is left.
struct Steps {
    limit: StdMutex<f64>,
    left: StdMutex<Vec<f64>>,
    asked: StdMutex<Vec<f64>>,
    paid: StdMutex<f64>,
}

impl Steps {
    fn new(limit: f64, left: &[f64]) -> Self {
        let (limit, left) = (StdMutex::new(limit), StdMutex::new(left.to_vec()));
        Self { limit, left, asked: StdMutex::default(), paid: StdMutex::default() }
    }
}

impl Purse for Steps {
    fn usd_max(&self) -> Option<f64> {
        Some(*self.limit.lock().unwrap())
    }

    fn more(&self, has: f64) -> BoxFuture<'_, Result<(), Failure>> {
        let mut limit = self.limit.lock().unwrap();
        let outcome = if *limit > has {
            // Somebody else asked meanwhile.
            Ok(())
        } else {
            self.asked.lock().unwrap().push(has);
            let more = self.left.lock().unwrap().pop();
            more.map(|more| *limit += more)
                .ok_or_else(|| Failure::new(FailureClass::Budget, "nothing is left"))
        };
        Box::pin(std::future::ready(outcome))
    }

    fn paid(&self, usd: f64) {
        *self.paid.lock().unwrap() = usd;
    }
}

async fn judge(world: &World, name: &str, purse: &Steps) -> (Judged, Option<Failure>) {
    let keys = KeyRing::new(Some(world.dir.path().join("keys.env")));
    let server = provider::server(&world.api, &keys).unwrap();
    let (ledger, template) = (world.ledger(name), template("assay-v1").unwrap());
    let mut panelist = Panelist::new(name, &world.api, template, &server, &world.gate, &ledger).unwrap();
    (panelist.job, panelist.usd_max) = (Some(job(name)), world.usd_max);
    panelist.purse = Some(purse);
    let judged = panelist.judge(&presentations(name, 57).presentations, |_| {}).await.unwrap();
    panelist.tell_paid();
    (judged, panelist.refused.into_inner())
}

async fn asks_then_stops(batch: bool) {
    let lab = Lab::start(Api::Anthropic, KEY, |_| Says::Verdict("1")).await;
    let mut world = World::new(&lab, Name::Anthropic, "claude-opus-4-8");
    world.api.batch = batch;
    let purse = Steps::new(0.3, &[0.3]);
    let (judged, refused) = judge(&world, "epoch-1", &purse).await;
    assert_eq!(refused.unwrap().reason, "nothing is left");
    let asked = purse.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let spent = world.ledger("epoch-1").lock().unwrap().usd();
    assert!(spent > 0.3 && spent <= 0.6, "{spent}");
    assert!((*purse.paid.lock().unwrap() - spent).abs() < 1e-9);
    let paid = judged.count(VerdictStatus::Ok);
    assert!((1..114).contains(&paid), "{paid}");

    // The next attempt goes on from the ledger, and pays for nothing twice.
    let (judged, refused) = judge(&world, "epoch-1", &Steps::new(100.0, &[])).await;
    assert_eq!((judged.count(VerdictStatus::Ok), judged.from_ledger), (114, paid));
    assert!(refused.is_none());
    assert!(lab.verdicts.lock().unwrap().values().all(|times| *times == 1), "nothing is paid twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judge_asks_for_more_and_stops_without() {
    asks_then_stops(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_ask_for_more_and_stop_without() {
    asks_then_stops(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_of_the_panel_ends_a_judge_without_asking() {
    let lab = Lab::start(Api::Anthropic, KEY, |_| Says::Verdict("1")).await;
    let mut world = World::new(&lab, Name::Anthropic, "claude-opus-4-8");
    world.usd_max = Some(0.3);
    let purse = Steps::new(5.0, &[]);
    let (judged, refused) = judge(&world, "epoch-1", &purse).await;
    assert!(refused.is_none() && purse.asked.lock().unwrap().is_empty());
    assert!(judged.count(VerdictStatus::Error) > 0);
}
