//! One decoder layer: attention and feed-forward, each after an RMSNorm (and in Gemma 2 before another) and added to
//! its input.

use assay_text::config::{Activation, DecoderConfig};
use tch::Tensor;

use super::norm::RmsNorm;
use super::weight::Weight;
use super::{Adapters, Attention, Frozen, Rotary};
use crate::packed::few;
use crate::weights::WeightLoader;
use crate::{Module, Result, SizedModule};

const QUERY_KEY_VALUE: [Module; 4] = [Module::Query, Module::Key, Module::Value, Module::QueryKeyValue];
const GATE_UP: [Module; 3] = [Module::Gate, Module::Up, Module::GateUp];

/// Projections that share an input, their weights stacked.
#[derive(Debug)]
struct Projection {
    modules: Vec<Module>,
    widths: Vec<i64>,
    weight: Weight,
    bias: Option<Tensor>,
}

impl Projection {
    /// Those of `wanted` that the model has.
    fn load(
        loader: &WeightLoader<'_>,
        config: &DecoderConfig,
        layer: usize,
        wanted: &[Module],
        has_bias: bool,
    ) -> Result<Self> {
        let mut sized = Module::of(config);
        sized.retain(|sized| wanted.contains(&sized.module));
        let tensors = |part: &str, shape: &dyn Fn(&SizedModule) -> Vec<usize>| -> Vec<_> {
            let name = |sized: &SizedModule| format!("model.layers.{layer}.{}.{part}", sized.module.path());
            sized.iter().map(|sized| (name(sized), shape(sized))).collect()
        };
        let weights = tensors("weight", &|sized| vec![sized.output, sized.input]);
        let biases = tensors("bias", &|sized| vec![sized.output]);
        Ok(Self {
            modules: sized.iter().map(|sized| sized.module).collect(),
            widths: sized.iter().map(|sized| sized.output as i64).collect(),
            weight: Weight::load(loader, &weights)?,
            bias: if has_bias { Some(loader.load_stacked(&biases)?) } else { None },
        })
    }

    /// The adapted outputs, one per module.
    fn forward(&self, layer: usize, input: &Tensor, adapters: &dyn Adapters) -> Result<Vec<Tensor>> {
        let bias = self.bias.as_ref();
        let outputs = match adapters.are_served() {
            true => self.split(self.weight.product_of_few(input, bias)?)?,
            false if self.weight.is_trained() => self.split(self.weight.product(input, bias)?)?,
            false => self.weight.products(input, &self.widths, bias)?,
        };
        adapters.adapt(layer, &self.frozen(), input, outputs)
    }

    /// The outputs of all modules, that lie side by side.
    fn split(&self, stacked: Tensor) -> Result<Vec<Tensor>> {
        match self.widths.len() {
            1 => Ok(vec![stacked]),
            _ => Ok(stacked.f_split_with_sizes(&self.widths[..], -1)?),
        }
    }

    fn frozen(&self) -> Frozen<'_> {
        Frozen::new(&self.modules, &self.widths, &self.weight, self.bias.as_ref())
    }
}

/// The frozen weights of one layer.
#[derive(Debug)]
pub(super) struct Layer {
    attention_norm: RmsNorm,
    query_key_value: Projection,
    query_norm: Option<RmsNorm>,
    key_norm: Option<RmsNorm>,
    output: Projection,
    post_attention_norm: Option<RmsNorm>,
    feed_forward_norm: RmsNorm,
    gate_up: Projection,
    down: Projection,
    post_feed_forward_norm: Option<RmsNorm>,
}

impl Layer {
    pub(super) fn load(loader: &WeightLoader<'_>, config: &DecoderConfig, index: usize) -> Result<Self> {
        let norm =
            |part: &str, width| RmsNorm::load(loader, config, &format!("model.layers.{index}.{part}"), width);
        let norm_if = |has: bool, part: &str, width| {
            if has { norm(part, width).map(Some) } else { Ok(None) }
        };
        let projection = |modules: &[Module], bias| Projection::load(loader, config, index, modules, bias);
        let (hidden, post_norms) = (config.hidden_size, config.post_norms);
        // The name means the norm after attention where there is one, else that before the feed-forward layer.
        let feed_forward_norm =
            if post_norms { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
        Ok(Self {
            attention_norm: norm("input_layernorm", hidden)?,
            query_key_value: projection(&QUERY_KEY_VALUE, config.qkv_bias)?,
            query_norm: norm_if(config.qk_norm, "self_attn.q_norm", config.head_dim)?,
            key_norm: norm_if(config.qk_norm, "self_attn.k_norm", config.head_dim)?,
            output: projection(&[Module::Output], config.output_bias)?,
            post_attention_norm: norm_if(post_norms, "post_attention_layernorm", hidden)?,
            feed_forward_norm: norm(feed_forward_norm, hidden)?,
            gate_up: projection(&GATE_UP, config.mlp_bias)?,
            down: projection(&[Module::Down], config.mlp_bias)?,
            post_feed_forward_norm: norm_if(post_norms, "post_feedforward_layernorm", hidden)?,
        })
    }

    pub(super) fn pack(&self) -> Result<()> {
        let projections = [&self.query_key_value, &self.output, &self.gate_up, &self.down];
        projections.into_iter().try_for_each(|projection| projection.weight.pack())
    }

    /// Whether its matrices are held in 4 bits.
    pub(super) fn is_in_4_bits(&self) -> bool {
        self.down.weight.is_in_4_bits()
    }

    /// The projections, those that share an input together.
    pub(super) fn frozen(&self) -> [Frozen<'_>; 4] {
        [&self.query_key_value, &self.output, &self.gate_up, &self.down].map(Projection::frozen)
    }

    pub(super) fn forward(
        &self,
        config: &DecoderConfig,
        index: usize,
        hidden: &Tensor,
        rotary: &Rotary,
        attention: &mut dyn Attention,
        adapters: &dyn Adapters,
    ) -> Result<Tensor> {
        let is_few = adapters.are_served() && self.attention_norm.is_for_few(hidden);
        let norm = |norm: &RmsNorm, rows: &Tensor| match is_few {
            true => norm.forward_few(rows),
            false => norm.forward(rows),
        };
        let turn = |heads: Tensor| match is_few {
            true => rotary.apply_few(&heads),
            false => rotary.apply(&heads),
        };
        let normed = norm(&self.attention_norm, hidden)?;
        let projected = self.query_key_value.forward(index, &normed, adapters)?;
        let (query, kv) = (config.query_size() as i64, config.key_value_size() as i64);
        let projected = parts(projected, &[query, kv, kv])?;
        let heads = |tensor: &Tensor| {
            tensor.f_view([-1, tensor.size()[1] / config.head_dim as i64, config.head_dim as i64])
        };
        let query = turn(normed_if(self.query_norm.as_ref(), heads(&projected[0])?)?)?;
        let key = turn(normed_if(self.key_norm.as_ref(), heads(&projected[1])?)?)?;
        let mixed = attention.attend(index, &query, &key, &heads(&projected[2])?)?;
        let mixed = only(self.output.forward(index, &mixed, adapters)?);
        let hidden = hidden.f_add(&normed_if(self.post_attention_norm.as_ref(), mixed)?)?;
        let normed = norm(&self.feed_forward_norm, &hidden)?;
        let inner = config.intermediate_size as i64;
        let gate_up = parts(self.gate_up.forward(index, &normed, adapters)?, &[inner, inner])?;
        let activated = if is_few && config.activation == Activation::Silu {
            few::silu_mul(&gate_up[0], &gate_up[1])?
        } else {
            activate(config.activation, &gate_up[0])?.f_mul(&gate_up[1])?
        };
        let output = only(self.down.forward(index, &activated, adapters)?);
        Ok(hidden.f_add(&normed_if(self.post_feed_forward_norm.as_ref(), output)?)?)
    }
}

fn activate(activation: Activation, gate: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => Ok(gate.f_silu()?),
        Activation::Gelu => Ok(gate.f_gelu("none")?),
        Activation::GeluTanh => Ok(gate.f_gelu("tanh")?),
    }
}

fn normed_if(norm: Option<&RmsNorm>, input: Tensor) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(&input),
        None => Ok(input),
    }
}

/// The outputs of separate projections, or those inside the one of a fused projection.
fn parts(outputs: Vec<Tensor>, widths: &[i64]) -> Result<Vec<Tensor>> {
    match &outputs[..] {
        [fused] => Ok(fused.f_split_with_sizes(widths, -1)?),
        _ => Ok(outputs),
    }
}

/// The output of a projection of one module.
fn only(mut outputs: Vec<Tensor>) -> Tensor {
    outputs.swap_remove(0)
}
