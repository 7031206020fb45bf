//! Gradients of one micro-batch, with activations kept or computed twice. Both end in the same numbers.

use tch::{Kind, Tensor};

use super::batch::MicroBatch;
use super::loss;
use crate::Result;
use crate::decoder::Decoder;
use crate::lora::TrainingAdapters;

/// Everything that one pass needs.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Decoder,
    pub(super) adapters: TrainingAdapters<'a>,
    pub(super) batch: &'a MicroBatch,
    /// Added to the embeddings, `[N, hidden_size]`.
    pub(super) noise: Option<Tensor>,
    /// What the sum of losses is multiplied with.
    pub(super) scale: f64,
}

impl Pass<'_> {
    /// Sum of losses and flat gradient.
    pub(super) fn run(&self, recompute: bool) -> Result<(f64, Tensor)> {
        if recompute { self.recomputed() } else { self.stored() }
    }

    /// Sum of losses and flat gradient, with the activations of all layers kept.
    fn stored(&self) -> Result<(f64, Tensor)> {
        let mut attention = self.batch.attention.clone();
        let positions = &self.batch.positions;
        let hidden = self.model.hidden_of(self.embedded()?, positions, &mut attention, &self.adapters)?;
        let (sum, gradient) = loss::sum_and_gradient(self.model, &hidden, self.batch, self.scale)?;
        let factors = self.adapters.lora.factors();
        let gradients = Tensor::f_run_backward(&[surrogate(&hidden, &gradient)?], factors, false, false)?;
        Ok((sum, flat(&gradients)?))
    }

    /// Sum of losses and flat gradient, with only the layers' inputs kept: each layer runs again before its gradient.
    fn recomputed(&self) -> Result<(f64, Tensor)> {
        let rotary = self.model.rotary(&self.batch.positions)?;
        let mut attention = self.batch.attention.clone();
        let mut inputs = Vec::with_capacity(self.model.layer_count());
        let hidden = {
            let _guard = tch::no_grad_guard();
            let mut hidden = self.embedded()?;
            for layer in 0..self.model.layer_count() {
                let output = self.model.layer(layer, &hidden, &rotary, &mut attention, &self.adapters)?;
                inputs.push(std::mem::replace(&mut hidden, output));
            }
            hidden
        };
        let (sum, mut gradient) = loss::sum_and_gradient(self.model, &hidden, self.batch, self.scale)?;
        let mut gradients = Vec::new();
        for (layer, input) in inputs.into_iter().enumerate().rev() {
            let input = input.f_detach()?.f_set_requires_grad(true)?;
            let output = self.model.layer(layer, &input, &rotary, &mut attention, &self.adapters)?;
            let mut wanted = vec![&input];
            wanted.extend(self.layer_factors(layer));
            let surrogate = surrogate(&output, &gradient)?;
            let mut parts = Tensor::f_run_backward(&[surrogate], &wanted, false, false)?;
            gradient = parts.remove(0);
            gradients.push(parts);
        }
        let in_order: Vec<Tensor> = gradients.into_iter().rev().flatten().collect();
        Ok((sum, flat(&in_order)?))
    }

    fn embedded(&self) -> Result<Tensor> {
        let embedded = self.model.embed(&self.batch.ids)?;
        match &self.noise {
            Some(noise) => Ok(embedded.f_add(noise)?),
            None => Ok(embedded),
        }
    }

    fn layer_factors(&self, layer: usize) -> impl Iterator<Item = &Tensor> {
        let lora = self.adapters.lora;
        let places = lora.places().iter().zip(lora.factors());
        places.filter(move |(place, _)| place.layer == layer).map(|(_, factor)| factor)
    }
}

/// A scalar whose gradient with respect to `output` is `gradient`: tch cannot start backward from a given gradient.
fn surrogate(output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Ok(output.f_mul(gradient)?.f_sum(Kind::Float)?)
}

fn flat(gradients: &[Tensor]) -> Result<Tensor> {
    let _guard = tch::no_grad_guard();
    let flat: Vec<Tensor> =
        gradients.iter().map(|gradient| gradient.f_reshape([-1])).collect::<std::result::Result<_, _>>()?;
    Ok(Tensor::f_cat(&flat, 0)?)
}
