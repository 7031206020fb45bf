//! Where the bytes of a model come from: no part of what they are.

use assay_domain::Origin;
use assay_domain::digest::Digest;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The models come from the Hub: uploaded, or fetched there by workers.
fn from_hub(upload: bool) -> ResolvedMatrix {
    let upload_field = if upload { ", upload: true" } else { "" };
    let text = small("")
        .replace("name: a, path: a", &format!("name: a, hub: org/a, revision: {COMMIT}{upload_field}"));
    let mut resolved = resolved::resolve(matrix::parse("m.yaml", &text, None).expect("it is right"), 24);
    let facts = resolved.models.get_mut("a").expect("it is there");
    for file in facts.artifact.files.iter_mut().filter(|_| !upload) {
        file.origin = Some(Origin::new("org/a", COMMIT, &file.path, true).expect("it is right"));
    }
    resolved
}

#[test]
fn a_model_that_workers_fetch_has_the_keys_of_one_that_was_uploaded_down_to_the_report() {
    let (uploaded, fetched) = (from_hub(true), from_hub(false));
    assert_ne!(Digest::of_value(&uploaded).unwrap(), Digest::of_value(&fetched).unwrap());
    let keys = |resolved: &ResolvedMatrix| -> Vec<JobKey> {
        plan(resolved).unwrap().iter().map(|job| job.key).collect()
    };
    assert_eq!(keys(&uploaded), keys(&fetched));
    let jobs = plan(&fetched).unwrap();
    assert!(jobs.iter().any(|job| job.work.kind() == WorkKind::Report));
    let origins = |job: &PlannedJob| {
        let of = |source: &Source| match source {
            Source::Upload { artifact } => artifact.files.iter().filter_map(|file| file.origin()).count(),
            Source::Output { .. } => 0,
        };
        job.inputs.iter().map(|input| of(&input.source)).sum::<usize>()
    };
    assert!(jobs.iter().any(|job| origins(job) == 1), "workers are told where");
}

#[test]
fn only_what_a_person_submits_lies_elsewhere() {
    let mut file = from_hub(false).models["a"].artifact.files[0].clone();
    assert!(file.origin().is_some());
    // What a worker says that it made is in the store, or nowhere.
    file.key = assay_domain::ObjectKey::parse("jobs/m-1/0/e1-a1/adapter@6/adapter.safetensors").unwrap();
    assert_eq!(file.origin(), None);
}

#[test]
fn a_folder_has_nothing_to_choose() {
    let text = small("").replace("name: a, path: a", "name: a, path: a, upload: true");
    let errors = matrix::parse("m.yaml", &text, None).unwrap_err();
    assert!(errors[0].to_string().contains("`upload` and no `hub`"), "{errors:?}");
}
