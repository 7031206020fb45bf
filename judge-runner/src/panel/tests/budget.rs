//! A judge stops before its share of the budget is spent, and goes on where it stopped when there is more.

use super::*;
use crate::ledger::StopClass;

async fn stops_and_goes_on(api: Api, provider: Name, model: &str, batch: bool, (first, then): (f64, f64)) {
    let lab = Lab::start(api, KEY, |_| Says::Verdict("1")).await;
    let mut world = World::new(&lab, provider, model);
    world.api.batch = batch;
    let blinded = presentations("epoch-1", 57);
    let each = judge_models::builtin().price(model).unwrap().usd(batch, 1320, 210);
    world.usd_max = Some(first);
    let (judged, stopped) = world.judge("epoch-1", &blinded).await;
    let why = stopped.unwrap();
    assert!(why.contains("budget"), "{why}");
    let (paid, most) = (judged.count(VerdictStatus::Ok), (first / each) as usize);
    // What is left is less than the dearest call could cost.
    let worst = judge_models::builtin().price(model).unwrap().usd(batch, 4_000, 2048);
    assert!(paid <= most && paid as f64 * each >= first - worst - each, "{api:?}: {paid} of {most}");
    assert_eq!(judged.count(VerdictStatus::Error), 114 - paid);
    let spent = world.ledger("epoch-1").lock().unwrap().usd();
    assert!(spent <= first + 1e-9 && (spent - paid as f64 * each).abs() < 1e-9, "{spent} of {first}");
    let stops = world.entries("epoch-1").into_iter().filter_map(|entry| match entry {
        Entry::Stopped(stop) => Some(stop.class),
        Entry::Asked(_)
        | Entry::Answered(_)
        | Entry::Cut(_)
        | Entry::BatchIntended(_)
        | Entry::BatchMade(_)
        | Entry::BatchCancelled(_)
        | Entry::BatchEnded(_) => None,
    });
    assert_eq!(stops.collect::<Vec<_>>(), [StopClass::Budget]);
    world.usd_max = Some(then);
    let (judged, stopped) = world.judge("epoch-1", &blinded).await;
    assert_eq!((judged.count(VerdictStatus::Ok), judged.from_ledger, stopped), (114, paid, None));
    assert!(lab.verdicts.lock().unwrap().values().all(|times| *times == 1), "nothing is paid twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judge_stops_before_its_budget_is_spent_and_goes_on_with_more() {
    stops_and_goes_on(Api::Anthropic, Name::Anthropic, "claude-opus-4-8", false, (0.5, 3.0)).await;
    stops_and_goes_on(Api::Chat, Name::Openai, "gpt-4o-2024-08-06", false, (0.1, 1.5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_cut_to_the_budget() {
    stops_and_goes_on(Api::Gemini, Name::Google, "gemini-2.5-flash-lite", true, (0.004, 0.06)).await;
    stops_and_goes_on(Api::Anthropic, Name::Anthropic, "claude-opus-4-8", true, (0.25, 4.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_were_cut_off_count_as_paid() {
    let lab = Lab::start(Api::Anthropic, KEY, |_| Says::Cut).await;
    let mut world = World::new(&lab, Name::Anthropic, "claude-opus-4-8");
    world.usd_max = Some(0.5);
    let (judged, stopped) = world.judge("epoch-1", &presentations("epoch-1", 57)).await;
    assert!(stopped.is_some_and(|why| why.contains("budget")));
    assert!((2..=12).contains(&judged.calls), "{} calls", judged.calls);
    // A server that is not there costs nothing.
    let mut world = World::new(&lab, Name::Anthropic, "claude-opus-4-8");
    world.api.base_url = String::from("http://127.0.0.1:1/v1");
    world.usd_max = Some(0.5);
    let (_, stopped) = world.judge("epoch-1", &presentations("epoch-1", 3)).await;
    assert_eq!((stopped, world.ledger("epoch-1").lock().unwrap().usd()), (None, 0.0));
}
