//! One trace for a matrix across all processes: who made which span, and below which other.

use std::collections::BTreeSet;

use crate::collector::{Collector, Span};

/// The spans of a matrix's trace.
struct Trace {
    root: Span,
    spans: Vec<Span>,
}

impl Trace {
    fn of(collector: &Collector, matrix: &str) -> Self {
        let mut spans = collector.spans();
        let is_root = |span: &&Span| {
            span.parent.is_empty() && span.attributes.get("assay.matrix").is_some_and(|id| id == matrix)
        };
        let root = spans.iter().find(|span| is_root(span) && span.service == "assay-coordinator");
        let root = root.unwrap_or_else(|| panic!("no root span of {matrix} among {spans:#?}")).clone();
        spans.retain(|span| span.trace == root.trace);
        Self { root, spans }
    }

    fn below<'a>(&'a self, parent: &'a Span, name: &'a str) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(move |span| span.parent == parent.id && span.name == name)
    }

    fn only<'a>(&'a self, parent: &'a Span, name: &'a str) -> &'a Span {
        let found: Vec<&Span> = self.below(parent, name).collect();
        assert_eq!(found.len(), 1, "`{name}` below {parent:#?}");
        found[0]
    }
}

/// The trace of the small matrix, all nine jobs of which ran once.
pub(crate) fn check(collector: &Collector, matrix: &str, submitted_ms: u64, finished_ms: u64) {
    let trace = Trace::of(collector, matrix);
    let root = &trace.root;
    assert_eq!((root.name.as_str(), root.from_ms, root.to_ms), ("tiny", submitted_ms, finished_ms));
    // Shown again by every coordinator that started later, the same each time: one that was killed may have shown nothing.
    let roots: Vec<&Span> = trace.spans.iter().filter(|span| span.id == root.id).collect();
    assert!(roots.len() >= 3 && roots.iter().all(|again| *again == root), "{roots:#?}");
    assert_eq!(trace.only(root, "plan").service, "assay-coordinator");
    let leases: Vec<&Span> = trace.below(root, "lease").collect();
    assert!(
        leases.len() == 9 && leases.iter().all(|lease| lease.service == "assay-coordinator"),
        "{leases:#?}"
    );
    let attempts: Vec<&Span> = trace.below(root, "attempt").collect();
    assert_eq!(attempts.len(), 9, "{attempts:#?}");
    for attempt in attempts {
        check_attempt(&trace, attempt);
    }
    assert!(trace.spans.iter().any(|span| span.name == "assay.v1.Artifacts/SignDownload"));
    let ids: BTreeSet<&[u8]> = trace.spans.iter().map(|span| span.id.as_slice()).collect();
    let lost: Vec<&Span> = trace
        .spans
        .iter()
        .filter(|span| span.id != root.id && !ids.contains(span.parent.as_slice()))
        .collect();
    assert!(lost.is_empty(), "spans whose parent nobody sent: {lost:#?}");
    check_command(collector, matrix, root);
}

fn check_attempt(trace: &Trace, attempt: &Span) {
    let kind = attempt.attributes["assay.kind"].as_str();
    let (service, phases): (_, &[&str]) = match kind {
        "train" => ("assay-worker", &["load", "evaluate", "train"]),
        "generate" => ("assay-worker", &["load", "generate"]),
        "score" => ("assay-worker", &["load", "score"]),
        _ => ("assay-judge-runner", &[]),
    };
    assert_eq!((attempt.service.as_str(), attempt.attributes["outcome"].as_str()), (service, "succeeded"));
    let (download, upload) = (trace.only(attempt, "download"), trace.only(attempt, "upload"));
    let run = trace.only(attempt, "run");
    assert_eq!(trace.below(attempt, "complete").count(), 1);
    // What the agent asks the coordinator for meanwhile is below what it is for.
    for (parent, call) in [(download, "SignDownload"), (upload, "SignUpload")] {
        let call = format!("assay.v1.Artifacts/{call}");
        let heard: Vec<&Span> = trace.below(parent, &call).collect();
        assert!(heard.iter().all(|span| span.service == "assay-coordinator"), "{heard:#?}");
        assert!(!heard.is_empty() || parent.name == "download", "no `{call}` below {parent:#?}");
    }
    let seen: BTreeSet<&str> =
        trace.below(run, "phase").map(|phase| phase.attributes["assay.phase"].as_str()).collect();
    assert!(phases.iter().all(|phase| seen.contains(phase)), "{kind} went through {seen:?}");
    let checkpoints = if kind == "train" { 2 } else { 0 };
    assert_eq!(trace.below(run, "checkpoint").count(), checkpoints);
}

/// The command has a trace of its own, with the coordinator's handling of its submission in it, which names the matrix.
fn check_command(collector: &Collector, matrix: &str, root: &Span) {
    let spans = collector.spans();
    let submit = spans.iter().find(|span| {
        span.name == "assay.v1.Matrices/Submit"
            && span.attributes.get("assay.matrix").is_some_and(|id| id == matrix)
    });
    let submit = submit.unwrap_or_else(|| panic!("no span of the submission of {matrix}"));
    let command = spans.iter().find(|span| span.id == submit.parent);
    let command = command.unwrap_or_else(|| panic!("nobody made the parent of {submit:#?}"));
    assert_eq!((command.service.as_str(), command.name.as_str()), ("assay", "assay run"));
    assert!(command.trace == submit.trace && command.trace != root.trace);
}
