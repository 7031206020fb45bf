//! What an attempt may cost: asked for in time, refused, and said at its end.

use assay_domain::budget::Amount;
use assay_domain::job::{GenerateSpec, ModelSettings, Sampling, SamplingDefaults, System};
use assay_domain::{Assignment, Work};

use super::*;
use crate::coordinator::TOKEN;

const FIRST_MS: u64 = 400;

fn ms(device_ms: u64) -> Amount {
    Amount { usd_micros: 0, device_ms }
}

/// The limits that were asked about, and what the attempt that failed says that it used.
fn told(coordinator: &Coordinator) -> (Vec<Amount>, Amount) {
    let script = coordinator.script();
    (script.asked.clone(), script.used.unwrap())
}

/// A job for a device, with a limit.
fn limited(limit: Amount) -> Assignment {
    let sampling = Sampling {
        name: String::from("greedy"),
        defaults: SamplingDefaults::Matrix,
        temperature: Some(0.0),
        top_p: None,
        top_k: None,
        min_p: None,
        repetition_penalty: None,
        max_new_tokens: 8,
        samples: 1,
        seed: 42,
    };
    let spec = GenerateSpec {
        model: String::from("m"),
        model_settings: ModelSettings::default(),
        system: System::Base,
        prompts: String::from("p"),
        prompt_ids: Vec::new(),
        system_prompt: None,
        sampling,
        quantization: None,
    };
    let mut offered = assignment(0, 1);
    offered.job.work = Work::Generate(spec);
    offered.spend_limit = Some(limit);
    offered
}

#[tokio::test]
async fn a_run_that_gets_more_goes_on_and_one_that_does_not_ends_at_its_limit() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, TOKEN, |_| ());
    coordinator.until(ready(1)).await;
    coordinator.script().limits.push_back(ms(2 * FIRST_MS));
    let offered = limited(ms(FIRST_MS));
    coordinator.offer(&offered).await;
    let run = agent.next_run().await;
    run.cx.cancelled().cancelled().await;
    run.end(Err(Failure::new(FailureClass::Crashed, "stopped")));
    let (lease, class, reason) = coordinator.until(failed).await;
    assert_eq!((lease, class.as_str()), (offered.lease, "budget"));
    assert!(reason.contains("assay budget m-test --usd"), "{reason}");
    let (asked, used) = told(&coordinator);
    assert_eq!(asked, [ms(FIRST_MS), ms(2 * FIRST_MS)]);
    assert!(used.device_ms >= 2 * FIRST_MS && used.usd_micros == 0, "{used}");
    agent.shut_down().await;
}

#[tokio::test]
async fn what_finishes_at_its_limit_has_finished() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, TOKEN, |_| ());
    coordinator.until(ready(1)).await;
    coordinator.offer(&limited(ms(FIRST_MS))).await;
    let run = agent.next_run().await;
    run.cx.cancelled().cancelled().await;
    run.end(nothing());
    coordinator.until(completed).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn calls_are_paid_from_a_limit_of_money_and_time_costs_nothing_without_a_device() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, TOKEN, |_| ());
    coordinator.until(ready(1)).await;
    let usd = |usd_micros| Amount { usd_micros, device_ms: 0 };
    coordinator.script().limits.push_back(usd(3_000_000));
    coordinator.offer(&Assignment { spend_limit: Some(usd(1_000_000)), ..assignment(0, 1) }).await;
    let run = agent.next_run().await;
    assert_eq!(run.cx.usd_limit(), Some(1.0));
    run.cx.paid_usd(0.75);
    run.cx.more_usd(1.0).await.unwrap();
    // Whoever came to the old limit meanwhile asks nobody.
    run.cx.more_usd(1.0).await.unwrap();
    assert_eq!(run.cx.usd_limit(), Some(3.0));
    let refused = run.cx.more_usd(3.0).await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Budget);
    run.end(Err(refused));
    coordinator.until(failed).await;
    assert_eq!(told(&coordinator), (vec![usd(1_000_000), usd(3_000_000)], usd(750_000)));
    agent.shut_down().await;
}
