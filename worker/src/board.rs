//! Generate jobs that wait for the engine, and which of them can run as one.

use std::sync::{Mutex, PoisonError};

use assay_agent::{AttemptContext, Failure, Finished};
use assay_domain::Digest;
use assay_domain::job::GenerateSpec;
use assay_model::lora;
use tokio::sync::oneshot;

use crate::frames::GeneratePart;

/// One that waits.
pub(crate) struct Waiting {
    pub(crate) cx: AttemptContext,
    pub(crate) part: GeneratePart,
    answer: oneshot::Sender<Result<Finished, Failure>>,
}

/// What all of a batch have in common.
struct Base {
    spec: GenerateSpec,
    /// None for what a full fine-tuning made: that is a model of its own.
    model: Option<Digest>,
}

impl Waiting {
    fn base(&self) -> Base {
        Base { spec: self.part.spec.clone(), model: self.model() }
    }

    fn model(&self) -> Option<Digest> {
        let has_base = self.part.adapter.as_deref().is_none_or(lora::is_adapter);
        let inputs = self.cx.assignment().inputs.iter();
        let model = inputs.filter(|_| has_base).find(|(role, _)| role == "model");
        model.map(|(_, artifact)| artifact.digest())
    }

    fn can_join(&self, batch: &Base) -> bool {
        batch.model.is_some() && batch.model == self.model() && batch.spec.shares_batch_with(&self.part.spec)
    }

    /// Whether its attempt still waits for an answer.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    /// Nobody may be there any more: then it is nobody's business.
    pub(crate) fn tell(self, ended: Result<Finished, Failure>) {
        let Self { cx, answer, .. } = self;
        // Nothing of ours keeps its span open.
        drop(cx);
        let _ = answer.send(ended);
    }
}

/// All that wait, in the order they came.
#[derive(Default)]
pub(crate) struct Board(Mutex<Vec<Waiting>>);

impl Board {
    /// The answer comes when it was in a batch.
    pub(crate) fn add(
        &self,
        cx: AttemptContext,
        part: GeneratePart,
    ) -> oneshot::Receiver<Result<Finished, Failure>> {
        let (answer, answered) = oneshot::channel();
        self.waiting().push(Waiting { cx, part, answer });
        answered
    }

    /// Takes the first and those that can run with it; none if another batch had them.
    pub(crate) fn take_batch(&self) -> Vec<Waiting> {
        let mut all = self.waiting();
        all.retain(Waiting::is_wanted);
        let Some(first) = all.first().map(Waiting::base) else { return Vec::new() };
        let mut batch = vec![all.remove(0)];
        batch.extend(all.extract_if(.., |waiting| waiting.can_join(&first)));
        batch
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
