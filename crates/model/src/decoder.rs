//! One decoder for all families, described by data. All passes work on *flat tokens*: `hidden` is `[N, hidden_size]`,
//! where the N tokens may be whole sequences one after the other (training, prompts) or one token of each row
//! (generation). Which tokens see which is the business of an [`Attention`]; LoRA is that of an [`Adapters`].

mod adapters;
mod attention;
mod frozen;
mod layer;
mod mix;
mod norm;
mod packing;
mod rotary;
mod softcap;
mod weight;

use std::cell::RefCell;
use std::path::Path;

use assay_text::config::DecoderConfig;
use assay_text::safetensors::TensorFiles;
use tch::{Device, Kind, Tensor};

pub use adapters::{Adapters, NoAdapters, RowAdapters};
pub use attention::{Attention, PackedCausal};
pub use frozen::Frozen;
use layer::Layer;
pub(crate) use mix::Mix;
use norm::RmsNorm;
pub use packing::Packing;
use rotary::RotaryTable;
pub use rotary::{Positions, Rotary};
pub(crate) use softcap::Softcap;
use weight::Weight;

use crate::Result;
use crate::export::Sum;
use crate::lora::{Lora, PackedLora, Served};
use crate::nf4::FourBits;
use crate::random::seeded;
use crate::weights::WeightLoader;
use crate::whole::Leaves;

/// The frozen base model: weights on one device, shared by training, generation and scoring.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    device: Device,
    kind: Kind,
    /// The type of hidden states between layers.
    residual: Kind,
    embedding: Tensor,
    /// What embeddings are multiplied with, rounded to `residual`.
    embedding_scale: Option<Tensor>,
    layers: Vec<Layer>,
    final_norm: RmsNorm,
    head: Weight,
    rotary: RotaryTable,
    packing: Packing,
}

impl Decoder {
    /// Reads a Hugging Face model folder. `kind` is the type of weights and activations: `Float` on CPU.
    pub fn load(dir: &Path, device: Device, kind: Kind) -> Result<Self> {
        let config = DecoderConfig::read(dir)?;
        let files = TensorFiles::open_folder(dir)?;
        Self::assemble(config, &WeightLoader::files(&files, device, kind))
    }

    /// The model in float32 with its weights as leaves for gradients.
    pub(crate) fn load_leaves(dir: &Path, device: Device) -> Result<(Self, Leaves)> {
        let config = DecoderConfig::read(dir)?;
        let files = TensorFiles::open_folder(dir)?;
        let leaves = RefCell::new(Leaves::new(&files, device)?);
        let decoder = Self::assemble(config, &WeightLoader::leaves(&files, &leaves, device))?;
        Ok((decoder, leaves.into_inner()))
    }

    /// The model with an adapter added to its weights, in float32.
    pub(crate) fn load_sums(dir: &Path, lora: &Lora, device: Device) -> Result<Self> {
        let config = DecoderConfig::read(dir)?;
        let files = TensorFiles::open_folder(dir)?;
        let sum = Sum::new(lora, &config);
        let _guard = tch::no_grad_guard();
        Self::assemble(config, &WeightLoader::sums(&files, &sum, device))
    }

    /// The model with the matrices of its layers in 4 bits; embedding, head, norms and biases stay as they are.
    pub fn load_in_4_bits(dir: &Path, device: Device, kind: Kind, bits: FourBits) -> Result<Self> {
        let config = DecoderConfig::read(dir)?;
        let files = TensorFiles::open_folder(dir)?;
        let mut loader = WeightLoader::files(&files, device, kind);
        loader.bits = Some(bits);
        Self::assemble(config, &loader)
    }

    /// Whether weights are held in 4 bits.
    pub fn is_in_4_bits(&self) -> bool {
        self.layers.iter().any(Layer::is_in_4_bits)
    }

    /// A model of the shape that a folder's `config.json` gives, with random weights drawn on the device: as fast and as
    /// large as a trained one, and good for nothing else.
    pub fn random(dir: &Path, device: Device, kind: Kind, seed: u64) -> Result<Self> {
        let config = DecoderConfig::read(dir)?;
        seeded(seed, || Self::assemble(config, &WeightLoader::drawn(device, kind)))
    }

    fn assemble(config: DecoderConfig, loader: &WeightLoader<'_>) -> Result<Self> {
        let WeightLoader { device, kind, .. } = *loader;
        let _guard = tch::no_grad_guard();
        let embedding_shape = [config.vocab_size, config.hidden_size];
        let embedding = loader.load("model.embed_tokens.weight", &embedding_shape)?;
        let head = if config.tied_embeddings {
            embedding.shallow_clone()
        } else {
            loader.load("lm_head.weight", &embedding_shape)?
        };
        let layers = (0..config.layer_count)
            .map(|index| Layer::load(loader, &config, index))
            .collect::<Result<_>>()?;
        let final_norm = RmsNorm::load(loader, &config, "model.norm", config.hidden_size)?;
        let rotary = RotaryTable::new(&config, device)?;
        let embedding_scale = embedding_scale(&config, (kind, device))?;
        let head = Weight::new(head);
        let packing = Packing::chosen(&config, device, kind);
        let residual = kind;
        Ok(Self {
            config,
            device,
            kind,
            residual,
            embedding,
            embedding_scale,
            layers,
            final_norm,
            head,
            rotary,
            packing,
        })
    }

    /// Keeps hidden states between layers, and so their gradients, in float32 whatever products are computed in; or in the
    /// type of the weights again, as after loading.
    pub fn set_float32_residual(&mut self, wanted: bool) -> Result<()> {
        self.residual = if wanted { Kind::Float } else { self.kind };
        self.embedding_scale = embedding_scale(&self.config, (self.residual, self.device))?;
        Ok(())
    }

    /// How attention over whole sequences is computed: what was found to work when the model was loaded, unless something else was set.
    pub fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Computes attention over whole sequences in this way from now on, untried: for checks and benches.
    pub fn set_packing(&mut self, packing: Packing) {
        self.packing = packing;
    }

    /// Attention over whole sequences of these lengths, one after the other; refused where the model is not made for the way that was set.
    pub fn attention_over(&self, lengths: &[i64]) -> Result<PackedCausal> {
        match &self.packing {
            Packing::Together => PackedCausal::together(lengths, &self.config, self.device),
            Packing::RowByRow(_) => Ok(PackedCausal::new(lengths, &self.config)),
        }
    }

    /// Makes a packed copy of all weights, once, where the steps of generation are faster with it: on processors with
    /// AVX-512. It takes half of the weights' memory again where the file's numbers are bfloat16.
    pub fn pack(&self) -> Result<()> {
        self.layers.iter().try_for_each(Layer::pack)?;
        self.head.pack()
    }

    /// What generation works out once for an adapter whose factors no longer change.
    pub(crate) fn served(&self, lora: &Lora) -> Result<Served> {
        let groups = self.layers.first().map(|layer| layer.frozen().map(|frozen| frozen.modules()));
        let packed = match groups {
            Some(groups) if self.device == Device::Cpu && self.kind == Kind::Float => {
                PackedLora::new(lora, self.layers.len(), &groups)?
            }
            _ => None,
        };
        Ok(Served { packed, scales: lora.output_scales(self.frozen())? })
    }

    /// All frozen projections with the number of their layer.
    pub(crate) fn frozen(&self) -> impl Iterator<Item = (usize, Frozen<'_>)> {
        self.layers.iter().enumerate().flat_map(|(index, layer)| layer.frozen().map(|frozen| (index, frozen)))
    }

    /// The shape of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The type of weights and activations.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The type of hidden states between layers.
    pub fn residual(&self) -> Kind {
        self.residual
    }

    /// Number of layers.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Embeddings `[N, hidden_size]` of token ids `[N]` (int64, on the model's device).
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let embedded = self.embedding.f_index_select(0, ids)?.f_to_kind(self.residual)?;
        match &self.embedding_scale {
            Some(scale) => Ok(embedded.f_mul(scale)?),
            None => Ok(embedded),
        }
    }

    /// Where flat tokens stand: for each its place in its text, and the length of that text, which decides how all of it is
    /// turned where frequencies change with length.
    pub fn positions(&self, tokens: impl IntoIterator<Item = (i64, i64)>) -> Result<Positions> {
        self.rotary.positions(tokens.into_iter(), self.device)
    }

    /// The longest text whose tokens are turned as those of short ones, where that changes: what is known of a text that
    /// outgrows it is to be computed anew.
    pub(crate) fn short_text_max(&self) -> Option<i64> {
        self.rotary.short_text_max()
    }

    /// The rotation of tokens, shared by all layers of a pass.
    pub fn rotary(&self, positions: &Positions) -> Result<Rotary> {
        self.rotary.rows(positions, self.kind)
    }

    /// One layer over flat tokens: `hidden` `[N, hidden_size]` in and out.
    pub fn layer(
        &self,
        index: usize,
        hidden: &Tensor,
        rotary: &Rotary,
        attention: &mut dyn Attention,
        adapters: &dyn Adapters,
    ) -> Result<Tensor> {
        self.layers[index].forward(&self.config, index, hidden, rotary, attention, adapters)
    }

    /// All layers over flat tokens, from token ids `[N]` and their positions to hidden states `[N, hidden_size]`
    /// before the final norm.
    pub fn hidden(
        &self,
        ids: &Tensor,
        positions: &Positions,
        attention: &mut dyn Attention,
        adapters: &dyn Adapters,
    ) -> Result<Tensor> {
        self.hidden_of(self.embed(ids)?, positions, attention, adapters)
    }

    /// The same from embeddings `[N, hidden_size]`.
    pub(crate) fn hidden_of(
        &self,
        mut hidden: Tensor,
        positions: &Positions,
        attention: &mut dyn Attention,
        adapters: &dyn Adapters,
    ) -> Result<Tensor> {
        let rotary = self.rotary(positions)?;
        for index in 0..self.layers.len() {
            hidden = self.layer(index, &hidden, &rotary, attention, adapters)?;
        }
        Ok(hidden)
    }

    /// The final norm of hidden states `[N, hidden_size]`.
    pub fn final_norm(&self, hidden: &Tensor) -> Result<Tensor> {
        self.final_norm.forward(hidden)
    }

    /// Logits `[N, vocab_size]` of hidden states `[N, hidden_size]` before the final norm. Select the rows that are
    /// needed first: N logits of a large vocabulary are the largest tensor of a pass.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let normed = self.final_norm(hidden)?;
        self.capped(self.head.product_of_few(&normed, None)?)
    }

    /// Logits `[N, vocab_size]` of hidden states `[N, hidden_size]` after the final norm, for many rows.
    pub(crate) fn head_logits(&self, normed: &Tensor) -> Result<Tensor> {
        self.capped(self.head.product(normed, None)?)
    }

    fn capped(&self, logits: Tensor) -> Result<Tensor> {
        match self.logit_softcap() {
            Some(cap) => cap.apply(&logits),
            None => Ok(logits),
        }
    }

    /// What the head's products went through to become logits.
    pub(crate) fn logit_softcap(&self) -> Option<Softcap> {
        self.config.logit_softcap.map(Softcap::new)
    }

    /// Weight of the output head `[vocab_size, hidden_size]`.
    pub fn head(&self) -> Result<Tensor> {
        self.head.tensor()
    }

    /// Logits `[N, vocab_size]` of whole sequences of the given lengths, which lie one after the other in `ids` `[N]`.
    pub fn sequence_logits(&self, ids: &Tensor, lengths: &[i64], adapters: &dyn Adapters) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let mut attention = self.attention_over(lengths)?;
        let positions = self.positions(attention.tokens())?;
        let hidden = self.hidden(ids, &positions, &mut attention, adapters)?;
        self.logits(&hidden)
    }
}

/// What a model multiplies its embeddings with, if it does.
fn embedding_scale(config: &DecoderConfig, options: (Kind, Device)) -> Result<Option<Tensor>> {
    match config.scaled_embeddings {
        true => Ok(Some(Tensor::f_full([1], (config.hidden_size as f64).sqrt(), options)?)),
        false => Ok(None),
    }
}
