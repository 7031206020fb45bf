//! One decoder layer: attention and feed-forward, each after an RMSNorm and added to its input.

use assay_text::config::DecoderConfig;
use tch::{Device, Kind, Tensor};

use super::weight::Weight;
use super::{Adapters, Attention, Rotary};
use crate::weights::WeightLoader;
use crate::{Module, Result};

const QUERY_KEY_VALUE: [Module; 3] = [Module::Query, Module::Key, Module::Value];
const GATE_UP: [Module; 2] = [Module::Gate, Module::Up];

/// Frozen projections that share an input, stacked into one matrix product.
#[derive(Debug)]
struct Projection {
    modules: Vec<Module>,
    widths: Vec<i64>,
    weight: Weight,
    bias: Option<Tensor>,
}

impl Projection {
    fn load(
        loader: &WeightLoader<'_>,
        config: &DecoderConfig,
        layer: usize,
        modules: &[Module],
        has_bias: bool,
    ) -> Result<Self> {
        let name = |module: &Module, part: &str| format!("model.layers.{layer}.{}.{part}", module.path());
        let widths = modules.iter().map(|module| module.widths(config)).collect::<Vec<_>>();
        let shaped = |part: &str, shape: &dyn Fn(usize, usize) -> Vec<usize>| {
            let parts = modules.iter().zip(&widths);
            parts.map(|(module, (input, output))| (name(module, part), shape(*input, *output))).collect()
        };
        let weights: Vec<_> = shaped("weight", &|input, output| vec![output, input]);
        let biases: Vec<_> = shaped("bias", &|_, output| vec![output]);
        Ok(Self {
            modules: modules.to_vec(),
            widths: widths.iter().map(|(_, output)| *output as i64).collect(),
            weight: Weight::new(by_columns(loader.load_stacked(&weights)?)?),
            bias: if has_bias { Some(loader.load_stacked(&biases)?) } else { None },
        })
    }

    /// The adapted outputs, one per module.
    fn forward(&self, layer: usize, input: &Tensor, adapters: &dyn Adapters) -> Result<Vec<Tensor>> {
        let stacked = match adapters.are_served() {
            true => self.weight.product_of_few(input, self.bias.as_ref())?,
            false => self.weight.product(input, self.bias.as_ref())?,
        };
        let outputs = match self.widths.len() {
            1 => vec![stacked],
            _ => stacked.f_split_with_sizes(&self.widths[..], -1)?,
        };
        adapters.adapt(layer, &self.modules, input, outputs)
    }
}

/// The same matrix, on CPU laid out by columns: products with the few rows of generation are 1.6 times as fast that way
/// (MKL, float32, 12 rows), those with the many rows of training as fast as before.
fn by_columns(weight: Tensor) -> Result<Tensor> {
    match weight.device() {
        Device::Cpu => Ok(weight.f_transpose(0, 1)?.f_contiguous()?.f_transpose(0, 1)?),
        Device::Cuda(_) | Device::Mps | Device::Vulkan => Ok(weight),
    }
}

/// The frozen weights of one layer.
#[derive(Debug)]
pub(super) struct Layer {
    attention_norm: Tensor,
    query_key_value: Projection,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
    output: Projection,
    feed_forward_norm: Tensor,
    gate_up: Projection,
    down: Projection,
}

impl Layer {
    pub(super) fn load(loader: &WeightLoader<'_>, config: &DecoderConfig, index: usize) -> Result<Self> {
        let norm = |part: &str, width| loader.load(&format!("model.layers.{index}.{part}.weight"), &[width]);
        let head_norm = |part: &str| match config.qk_norm {
            true => norm(part, config.head_dim).map(Some),
            false => Ok(None),
        };
        let projection = |modules: &[Module], bias| Projection::load(loader, config, index, modules, bias);
        Ok(Self {
            attention_norm: norm("input_layernorm", config.hidden_size)?,
            query_key_value: projection(&QUERY_KEY_VALUE, config.qkv_bias)?,
            query_norm: head_norm("self_attn.q_norm")?,
            key_norm: head_norm("self_attn.k_norm")?,
            output: projection(&[Module::Output], config.output_bias)?,
            feed_forward_norm: norm("post_attention_layernorm", config.hidden_size)?,
            gate_up: projection(&GATE_UP, config.mlp_bias)?,
            down: projection(&[Module::Down], config.mlp_bias)?,
        })
    }

    pub(super) fn pack(&self) -> Result<()> {
        let projections = [&self.query_key_value, &self.output, &self.gate_up, &self.down];
        projections.into_iter().try_for_each(|projection| projection.weight.pack())
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
        let normed = rms_norm(hidden, &self.attention_norm, config.norm_epsilon)?;
        let projected = self.query_key_value.forward(index, &normed, adapters)?;
        let heads = |tensor: &Tensor| {
            tensor.f_view([-1, tensor.size()[1] / config.head_dim as i64, config.head_dim as i64])
        };
        let query = turn(&heads(&projected[0])?, self.query_norm.as_ref(), config, rotary)?;
        let key = turn(&heads(&projected[1])?, self.key_norm.as_ref(), config, rotary)?;
        let mixed = attention.attend(index, &query, &key, &heads(&projected[2])?)?;
        let hidden = hidden.f_add(&only(self.output.forward(index, &mixed, adapters)?))?;
        let normed = rms_norm(&hidden, &self.feed_forward_norm, config.norm_epsilon)?;
        let gate_up = self.gate_up.forward(index, &normed, adapters)?;
        let activated = gate_up[0].f_silu()?.f_mul(&gate_up[1])?;
        Ok(hidden.f_add(&only(self.down.forward(index, &activated, adapters)?))?)
    }
}

fn turn(heads: &Tensor, norm: Option<&Tensor>, config: &DecoderConfig, rotary: &Rotary) -> Result<Tensor> {
    match norm {
        Some(weight) => rotary.apply(&rms_norm(heads, weight, config.norm_epsilon)?),
        None => rotary.apply(heads),
    }
}

/// The output of a projection of one module.
fn only(mut outputs: Vec<Tensor>) -> Tensor {
    outputs.swap_remove(0)
}

/// RMSNorm over the last dimension, in float32 as Transformers does, in the input's type again before the weight.
pub(crate) fn rms_norm(input: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let kind = input.f_kind()?;
    let wide = input.f_to_kind(Kind::Float)?;
    let mean_square = wide.f_square()?.f_mean_dim(&[-1i64][..], true, Kind::Float)?;
    let scaled = wide.f_mul(&mean_square.f_add_scalar(epsilon)?.f_rsqrt()?)?;
    Ok(scaled.f_to_kind(kind)?.f_mul(weight)?)
}
