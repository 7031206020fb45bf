//! Each thing that may stand between a job and a worker, as it comes and as people read it.

use std::collections::BTreeSet;

use assay_domain::decide::schedule::{Explanation, Obstacle, Reason, WorkerReasons};
use assay_domain::state::Status;
use assay_domain::{JobId, MatrixId, WorkerId};

use super::told;

/// As it comes, why the job is not there, and what would change that.
const SENTENCES: &[(&str, &str, &str)] = &[
    (
        r#"{"why":"ended","status":"failed","reason":"no row has a label"}"#,
        "the job is failed: no row has a label",
        "`assay retry MATRIX`, once the matrix has ended, runs what it lacks",
    ),
    (
        r#"{"why":"ended","status":"succeeded","reason":""}"#,
        "the job is succeeded",
        "nothing to do; `assay submit --fresh` runs it again",
    ),
    (
        r#"{"why":"runs","worker":"w-2"}"#,
        "it runs on w-2",
        "nothing to do: `assay logs JOB --follow` shows it",
    ),
    (
        r#"{"why":"waits","on":"m-1/0","label":"train a","artifact":"adapter@6","status":"running"}"#,
        "it needs `adapter@6` of m-1/0 (train a), which is running",
        "the end of m-1/0: `assay explain m-1/0`",
    ),
    (
        r#"{"why":"blocked","on":"m-1/0","label":"train a","artifact":"adapter@6","status":"cancelled"}"#,
        "`adapter@6` of m-1/0 (train a) will never be there: that job is cancelled",
        "`assay retry MATRIX`, once the matrix has ended, runs what it lacks",
    ),
    (r#"{"why":"paused","since":7}"#, "its matrix is paused", "`assay resume MATRIX`"),
    (
        r#"{"why":"back_off","left_ms":1540,"failures":2}"#,
        "it is held back for 1.5 s more after failure 2",
        "the end of that time",
    ),
    (
        r#"{"why":"team_limit","team":"research","running":8,"limit":8}"#,
        "team `research` runs 8 jobs, of 8 that it may",
        "the end of a job of team `research`, or a higher limit at the coordinator",
    ),
    (
        r#"{"why":"budget","scope":{"scope":"matrix","matrix":"m-1"},"needs":{"usd_micros":1500000,"device_ms":1800000},"left":{"usd_micros":250000}}"#,
        "it needs about 1.5000 USD and 0.5000 h there, and of the budget of matrix m-1 there is 0.2500 USD left",
        "`assay budget m-1 --usd USD --hours HOURS` raises it",
    ),
    (
        r#"{"why":"unpriced","scope":{"scope":"matrix","matrix":"m-1"}}"#,
        "what its calls cost is unknown, and the budget of matrix m-1 counts money",
        "a judge whose price is known, or no money in the budget of matrix m-1",
    ),
    (
        r#"{"why":"gone"}"#,
        "the worker is not connected",
        "the worker's return; one that is gone for long is forgotten",
    ),
    (
        r#"{"why":"quarantined","reason":"3 different jobs failed there in a row"}"#,
        "the worker is in quarantine: 3 different jobs failed there in a row",
        "`assay fleet lift WORKER`, or some time",
    ),
    (r#"{"why":"draining","mode":"checkpoint"}"#, "the worker is drained", "`assay fleet lift WORKER`"),
    (
        r#"{"why":"kind","kind":"train"}"#,
        "the worker does not run train jobs",
        "a worker: `assay-worker` runs such jobs",
    ),
    (
        r#"{"why":"kind","kind":"judge"}"#,
        "the worker does not run judge jobs",
        "a judge-runner: `assay-judge-runner` runs such jobs",
    ),
    (
        r#"{"why":"memory","exceeded_mib":4096,"has_mib":4000}"#,
        "4096 MiB of memory were not enough for it, and the worker has 4000",
        "a worker with more memory, or a smaller batch, length or model",
    ),
    (
        r#"{"why":"device","needs":"cuda","has":"cpu"}"#,
        "its matrix asks for `cuda`, and the worker has `cpu`",
        "a worker with `cuda`, or another `needs.device` in the matrix",
    ),
    (
        r#"{"why":"too_large","needs_mib":5530,"free_mib":3994,"has_mib":3994,"largest_mib":4096}"#,
        "needs 5.4 GiB of memory, the worker has 3.9 GiB",
        "no worker of this fleet has more than 4.0 GiB: a larger one, or a smaller batch, length or model; \
         if the estimate is wrong, `needs: {memory_gib: ...}` in the matrix",
    ),
    (
        r#"{"why":"too_large","needs_mib":5530,"free_mib":3994,"has_mib":4096,"largest_mib":8192}"#,
        "needs 5.4 GiB of memory, the worker has 3.9 GiB free of 4.0 GiB",
        "a worker with more memory; if the estimate is wrong, `needs: {memory_gib: ...}` in the matrix",
    ),
    (
        r#"{"why":"too_large","needs_mib":5530,"free_mib":3994,"has_mib":8192,"largest_mib":8192}"#,
        "needs 5.4 GiB of memory, the worker has 3.9 GiB free of 8.0 GiB",
        "the end of what else uses memory there, or another worker; if the estimate is wrong, `needs: {memory_gib: ...}` in the matrix",
    ),
    (
        r#"{"why":"disk","needs_mib":2048,"free_mib":512}"#,
        "needs 2.0 GiB of disk, the worker has 0.5 GiB free",
        "free disk in the worker's folder, or another worker; `needs: {disk_gib: ...}` if the estimate is wrong",
    ),
    (
        r#"{"why":"life","needs_s":90,"left_s":60,"resumable":true}"#,
        "needs about 90 s to its next checkpoint there, the worker leaves in 60 s",
        "a worker that stays longer, or checkpoints more often; `needs: {hours: ...}` if the estimate is wrong",
    ),
    (
        r#"{"why":"life","needs_s":9000,"left_s":1800,"resumable":false}"#,
        "needs about 2.5 h there, the worker leaves in 30 min",
        "a worker that stays longer, or checkpoints more often; `needs: {hours: ...}` if the estimate is wrong",
    ),
    (r#"{"why":"full"}"#, "the worker has no free place", "the end of a job there, or another worker"),
];

fn explanation(reasons: Vec<Reason>, workers: Vec<WorkerReasons>) -> Explanation {
    let job = JobId { matrix: MatrixId::new("m-1"), ordinal: 3 };
    Explanation { job, label: String::from("train b"), status: Status::Ready, reasons, workers }
}

/// Whether a row of what people read has all of these.
fn has_row(text: &str, cells: &[&str]) -> bool {
    text.lines().any(|line| cells.iter().all(|cell| line.contains(cell)))
}

#[test]
fn each_obstacle_has_its_sentence_and_its_remedy_everywhere_and_at_a_worker() {
    for (json, why, remedy) in SENTENCES {
        let obstacle: Obstacle = serde_json::from_str(json).unwrap();
        let reason = Reason::from(obstacle);
        let text = told(&explanation(vec![reason.clone()], Vec::new()));
        assert!(has_row(&text, &["everywhere", why, remedy]), "{json}:\n{text}");
        let worker = WorkerReasons { worker: WorkerId::new("w-1"), reasons: vec![reason.clone()] };
        let text = told(&explanation(Vec::new(), vec![worker]));
        assert!(has_row(&text, &["w-1", why, remedy]), "{json}:\n{text}");
        // What `--json` prints has the value beside the words.
        let printed = serde_json::to_value(&reason).unwrap();
        let given: serde_json::Value = serde_json::from_str(json).unwrap();
        assert!(given.as_object().unwrap().iter().all(|(key, value)| printed[key] == *value), "{printed}");
        assert_eq!((&printed["text"], &printed["remedy"]), (&(*why).into(), &(*remedy).into()));
    }
}

/// A new obstacle is in this table and in the docs.
#[test]
fn every_obstacle_is_in_the_table_and_in_the_docs() {
    let unknown = serde_json::from_str::<Obstacle>(r#"{"why":"-"}"#).unwrap_err().to_string();
    // unknown variant `-`, expected one of `ended`, `runs`, ...
    let all: BTreeSet<&str> = unknown.split('`').skip(1).step_by(2).filter(|name| *name != "-").collect();
    let listed = SENTENCES.iter().map(|(json, ..)| json.split('"').nth(3).unwrap());
    assert_eq!(listed.collect::<BTreeSet<_>>(), all);
    let docs = include_str!("../../../docs/scheduling.md");
    let missing: Vec<_> = all.iter().filter(|name| !docs.contains(&format!("`{name}`"))).collect();
    assert!(all.len() > 15 && missing.is_empty(), "{all:?} without {missing:?}");
}
