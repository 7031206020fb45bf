//! Gradients of one micro-batch, with activations kept or computed twice. Both end in the same numbers.

use tch::{Kind, Tensor};

use super::batch::MicroBatch;
use super::loss;
use super::trained::{Gradients, Trained};
use crate::Result;
use crate::decoder::{Adapters, Decoder};
use crate::whole::Part;

/// Everything that one pass needs.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Decoder,
    pub(super) trained: &'a Trained,
    pub(super) adapters: Box<dyn Adapters + 'a>,
    pub(super) batch: &'a MicroBatch,
    /// Added to the embeddings, `[N, hidden_size]`.
    pub(super) noise: Option<Tensor>,
    /// What the sum of losses is multiplied with.
    pub(super) scale: f64,
}

impl Pass<'_> {
    /// Sum of losses and gradients.
    pub(super) fn run(&self, recompute: bool) -> Result<(f64, Gradients)> {
        if recompute { self.recomputed() } else { self.stored() }
    }

    /// With the activations of all layers kept.
    fn stored(&self) -> Result<(f64, Gradients)> {
        let mut attention = self.batch.attention.clone();
        let positions = &self.batch.positions;
        let hidden =
            self.model.hidden_of(self.embedded()?, positions, &mut attention, self.adapters.as_ref())?;
        let top = self.top(&hidden)?;
        let numbers = self.trained.of_hidden();
        let wanted = self.leaves(&numbers);
        let parts = Tensor::f_run_backward(&[surrogate(&hidden, &top.hidden)?], &wanted, false, false)?;
        let mut gradients = top.leaves;
        for (number, part) in numbers.into_iter().zip(parts) {
            gradients.push((number, self.of_input(number, part)?));
        }
        Ok((top.sum, gradients))
    }

    /// With only the layers' inputs kept: each layer runs again before its gradient.
    fn recomputed(&self) -> Result<(f64, Gradients)> {
        let rotary = self.model.rotary(&self.batch.positions)?;
        let mut attention = self.batch.attention.clone();
        let adapters = self.adapters.as_ref();
        let mut inputs = Vec::with_capacity(self.model.layer_count());
        let hidden = {
            let _guard = tch::no_grad_guard();
            let mut hidden = self.embedded()?;
            for layer in 0..self.model.layer_count() {
                let output = self.model.layer(layer, &hidden, &rotary, &mut attention, adapters)?;
                inputs.push(std::mem::replace(&mut hidden, output));
            }
            hidden
        };
        let top = self.top(&hidden)?;
        let (mut gradient, mut gradients) = (top.hidden, top.leaves);
        for (layer, input) in inputs.into_iter().enumerate().rev() {
            let input = input.f_detach()?.f_set_requires_grad(true)?;
            let output = self.model.layer(layer, &input, &rotary, &mut attention, adapters)?;
            let numbers = self.trained.of_layer(layer);
            let mut wanted = vec![&input];
            wanted.extend(self.leaves(&numbers));
            let surrogate = surrogate(&output, &gradient)?;
            let mut parts = Tensor::f_run_backward(&[surrogate], &wanted, false, false)?;
            gradient = parts.remove(0);
            gradients.extend(numbers.into_iter().zip(parts));
        }
        gradients.extend(self.of_embedding(&gradient)?);
        Ok((top.sum, gradients))
    }

    fn top(&self, hidden: &Tensor) -> Result<loss::Top> {
        loss::sum_and_gradients(self.model, hidden, self.batch, self.scale, self.trained.whole())
    }

    /// The embedding's gradient, where it is trained, for the gradient of embedded tokens.
    fn of_embedding(&self, gradient: &Tensor) -> Result<Option<(usize, Tensor)>> {
        let Some(number) = self.trained.whole().and_then(|whole| whole.number_of(Part::Embedding)) else {
            return Ok(None);
        };
        let surrogate = surrogate(&self.embedded()?, gradient)?;
        let mut parts = Tensor::f_run_backward(&[surrogate], &self.leaves(&[number]), false, false)?;
        Ok(Some((number, self.of_input(number, parts.remove(0))?)))
    }

    /// The gradient of a leaf as Transformers has it.
    fn of_input(&self, number: usize, gradient: Tensor) -> Result<Tensor> {
        match self.trained.whole() {
            Some(whole) if whole.number_of(Part::Embedding) == Some(number) => {
                whole.without_padding(gradient)
            }
            _ => Ok(gradient),
        }
    }

    fn embedded(&self) -> Result<Tensor> {
        let embedded = self.model.embed(&self.batch.ids)?;
        match &self.noise {
            Some(noise) => Ok(embedded.f_add(noise)?),
            None => Ok(embedded),
        }
    }

    fn leaves(&self, numbers: &[usize]) -> Vec<&Tensor> {
        numbers.iter().map(|number| &self.trained.leaves()[*number]).collect()
    }
}

/// A scalar whose gradient with respect to `output` is `gradient`: tch cannot start backward from a given gradient.
fn surrogate(output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Ok(output.f_mul(gradient)?.f_sum(Kind::Float)?)
}
