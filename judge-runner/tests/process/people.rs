//! People as judges over gRPC: blind, validated, durable before the answer, repeated without harm, and in backups.

use std::collections::BTreeMap;
use std::fs;

use assay_domain::UnixMillis;
use assay_domain::job::JudgeInfo;
use assay_judging::pair::Key;
use assay_judging::records::{KeyRecord, RawVerdictRecord, Winner, from_jsonl};
use assay_judging::report::{HUMAN, resolve_all};
use assay_proto::v1;
use serde_json::json;
use tonic::{Code, Status};

use crate::labs::{Api, Lab, Says};
use crate::stack::{KEY, Stack};

const PROMPTS: usize = 6;
const SCORES: &str = r#"{"creativity":4,"coherence":3,"depth":5,"engagement":4,"quality":4}"#;

fn verdict(winner: &str) -> String {
    format!(
        r#"{{"reasoning":"It is clearer.","response_1":{SCORES},"response_2":{SCORES},"winner":"{winner}","confidence":4}}"#
    )
}

/// One person at one matrix.
struct Person<'a> {
    stack: &'a Stack,
    matrix: &'a str,
    name: &'a str,
}

impl Person<'_> {
    async fn next(&self, orders: &str, skip: &[String]) -> Result<v1::NextPairResponse, Status> {
        let request = v1::NextPairRequest {
            matrix_id: self.matrix.to_owned(),
            annotator: self.name.to_owned(),
            orders: orders.to_owned(),
            skip: skip.to_vec(),
        };
        Ok(self.stack.people().next_pair(request).await?.into_inner())
    }

    async fn give(&self, id: &str, text: &str) -> Result<v1::GiveVerdictResponse, Status> {
        let request = v1::GiveVerdictRequest {
            matrix_id: self.matrix.to_owned(),
            annotator: self.name.to_owned(),
            presentation_id: id.to_owned(),
            verdict_json: text.to_owned(),
        };
        Ok(self.stack.people().give_verdict(request).await?.into_inner())
    }

    fn lines(&self) -> usize {
        fs::read_to_string(self.file()).unwrap_or_default().lines().count()
    }

    fn file(&self) -> std::path::PathBuf {
        let folder = self.stack.folder.path().join("data/annotations");
        folder.join(self.matrix).join(self.name).join("verdicts.jsonl")
    }

    /// Judges all that is left, always for what was tuned.
    async fn judge_all(&self) {
        while let Some(shown) = self.next("", &[]).await.unwrap().presentation {
            let tuned = shown.responses.iter().find(|one| one.text.starts_with("After")).unwrap();
            self.give(&shown.id, &verdict(&tuned.label)).await.unwrap();
        }
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, said: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(said), "`{}` does not say `{said}`", status.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_judge_blind_beside_the_panel_and_every_answer_is_kept() {
    let lab = Lab::start(Api::Anthropic, KEY, |_| Says::Verdict("1")).await;
    let stack = Stack::start().await;
    let judge = json!({"kind": "api", "name": "lab", "provider": "anthropic", "model": "claude-opus-4-8",
        "base_url": lab.base_url, "key_env": "ASSAY_TEST_KEY", "template": "assay-v1", "max_tokens": 2048});
    let matrix = stack.submit(PROMPTS, &judge).await;
    let runner = stack.judge_runner("host-1");
    stack.finished(&matrix).await;
    runner.kill();
    let person = |name| Person { stack: &stack, matrix: &matrix, name };
    let ann = person("ann");

    rules(&stack, &matrix, &ann).await;
    let first = ann.next("single", &[]).await.unwrap();
    assert_eq!((first.judged, first.total), (0, PROMPTS as u32));
    let shown = first.presentation.unwrap();
    blind(&shown);
    verdicts(&ann, &shown).await;
    refused(ann.next("both", &[]).await, Code::FailedPrecondition, "with orders `single`, not `both`");

    // Passed over is not judged; with all passed over there is nothing.
    let second = ann.next("", &[]).await.unwrap().presentation.unwrap();
    let third = ann.next("", std::slice::from_ref(&second.id)).await.unwrap().presentation.unwrap();
    assert_ne!((&second.id, &second.prompt), (&third.id, &third.prompt));

    // Two windows at once: one verdict.
    let text = verdict("tie");
    let (one, other) = tokio::join!(ann.give(&second.id, &text), ann.give(&second.id, &text));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.repeated, other.repeated);
    assert_eq!((one.judged, other.judged, ann.lines()), (2, 2, 2));

    cut_off(&person("bob")).await;
    let cleo = person("cleo");
    cleo.next("both", &[]).await.unwrap();
    cleo.judge_all().await;
    let done = cleo.next("", &[]).await.unwrap();
    assert_eq!((done.judged, done.total, done.presentation), (12, 12, None));
    for_reports(&cleo).await;
    let people = v1::ListPeopleRequest { matrix_id: matrix.clone() };
    let people = stack.people().list_people(people).await.unwrap().into_inner().people;
    let people: Vec<_> =
        people.iter().map(|one| (one.annotator.as_str(), one.orders.as_str(), one.judged)).collect();
    assert_eq!(people, [("ann", "single", 2), ("bob", "both", 1), ("cleo", "both", 12)]);
    backed_up(&stack, &cleo);
    stack.stop().await;
}

/// What breaks a rule before anything is begun hears which, and begins nothing.
async fn rules(stack: &Stack, matrix: &str, ann: &Person<'_>) {
    let person = |matrix, name| Person { stack, matrix, name };
    for name in ["", "../ann", ".ann", "a b"] {
        refused(person(matrix, name).next("", &[]).await, Code::InvalidArgument, "letters, digits");
    }
    refused(person(matrix, "lab").next("", &[]).await, Code::InvalidArgument, "a judge of the panel");
    refused(person("m-none", "ann").next("", &[]).await, Code::NotFound, "m-none");
    refused(ann.next("twice", &[]).await, Code::InvalidArgument, "use `single`, `both` or `full`");
    refused(ann.give("p-0", &verdict("1")).await, Code::NotFound, "has not begun");
    assert!(!ann.file().exists());
}

/// Nothing that is told says who wrote what.
fn blind(shown: &v1::Presentation) {
    let told = format!("{shown:?}");
    for secret in ["tuned", "base", "r16", "seed", "tiny", "talk", "fence"] {
        assert!(!told.contains(secret), "`{secret}` unblinds: {told}");
    }
    let mut labels: Vec<&str> = shown.responses.iter().map(|one| one.label.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["1", "2"]);
}

/// A verdict is kept once, as it was first given, and only if it is one.
async fn verdicts(ann: &Person<'_>, shown: &v1::Presentation) {
    let good = verdict("1");
    let cases = [
        (good.replacen("\"depth\":5", "\"depth\":6", 1), "response_1.depth is 6: 1 to 5 is the rule"),
        (good.replace("\"winner\":\"1\"", "\"winner\":\"A\""), "winner is \"A\""),
        (good.replace("\"confidence\":4", "\"confidence\":4,\"tuned\":1"), "unknown field `tuned`"),
        (good.replace("\"confidence\":4", "\"confidence\":0"), "confidence is 0: 1 to 5 is the rule"),
        (String::from("the first"), "not one verdict object"),
        (String::new(), "an empty answer"),
    ];
    for (text, rule) in cases {
        refused(ann.give(&shown.id, &text).await, Code::InvalidArgument, rule);
    }
    refused(ann.give("p00-0", &good).await, Code::NotFound, "NextPair gives their ids");
    assert_eq!(ann.lines(), 0);
    let given = ann.give(&shown.id, &good).await.unwrap();
    assert_eq!((given.repeated, given.judged, ann.lines()), (false, 1, 1));
    let again = ann.give(&shown.id, &good).await.unwrap();
    assert_eq!((again.repeated, again.judged, ann.lines()), (true, 1, 1));
    refused(ann.give(&shown.id, &verdict("2")).await, Code::AlreadyExists, "verdicts are never changed");
    assert_ne!(ann.next("", &[]).await.unwrap().presentation.unwrap().id, shown.id);
}

/// Half a line, as a crash leaves it, is no verdict, and the next one stands whole after it.
async fn cut_off(bob: &Person<'_>) {
    let shown = bob.next("both", &[]).await.unwrap().presentation.unwrap();
    fs::write(bob.file(), "{\"pair_id\":\"p").unwrap();
    assert_eq!(bob.next("", &[]).await.unwrap().judged, 0);
    bob.give(&shown.id, &verdict("2")).await.unwrap();
    let text = fs::read_to_string(bob.file()).unwrap();
    assert_eq!(from_jsonl::<RawVerdictRecord>("bob", &text).unwrap().len(), 1);
}

/// Verdicts come with the key, by which all of them are for what was tuned, wherever it stood.
async fn for_reports(cleo: &Person<'_>) {
    let request =
        v1::PersonVerdictsRequest { matrix_id: cleo.matrix.to_owned(), annotator: cleo.name.to_owned() };
    let given = cleo.stack.people().person_verdicts(request).await.unwrap().into_inner();
    let info: JudgeInfo = serde_json::from_str(&given.judge_json).unwrap();
    assert_eq!((info.name.as_str(), info.kind.as_str(), info.smoke), ("cleo", HUMAN, false));
    let verdicts: Vec<RawVerdictRecord> = from_jsonl("verdicts", &given.verdicts_jsonl).unwrap();
    let keys: Vec<KeyRecord> = from_jsonl("keys", &given.keys_jsonl).unwrap();
    let resolved = resolve_all(&verdicts, &Key::new(keys).unwrap()).unwrap();
    assert_eq!(resolved.len(), 2 * PROMPTS);
    assert!(resolved.iter().all(|one| one.winner == Some(Winner::Tuned)), "{resolved:?}");
    let mut slots: BTreeMap<_, usize> = BTreeMap::new();
    for one in &resolved {
        *slots.entry((one.tuned_slot, one.tuned_label)).or_default() += 1;
    }
    assert_eq!(slots.len(), 4, "each slot with each label: {slots:?}");
    assert!(!given.judge_json.contains("secret"));
}

/// A backup has them, with digests, and what is restored from it too.
fn backed_up(stack: &Stack, cleo: &Person<'_>) {
    let (data, folder) = (stack.folder.path().join("data"), tempfile::tempdir().unwrap());
    let (backup, restored) = (folder.path().join("backup"), folder.path().join("restored"));
    let made = assay_coordinator::admin::backup(&data, &backup, true, UnixMillis(1)).unwrap();
    assay_coordinator::admin::restore(&backup, &restored, false, UnixMillis(2_000)).unwrap();
    let within = cleo.file().strip_prefix(&data).unwrap().to_owned();
    assert!(made.files.iter().any(|(name, _)| *name == within.display().to_string()), "{:?}", made.files);
    assert_eq!(fs::read(restored.join(&within)).unwrap(), fs::read(cleo.file()).unwrap());
    assert!(restored.join(within).with_file_name("session.json").exists());
}
