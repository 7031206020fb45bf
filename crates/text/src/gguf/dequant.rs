//! Block formats of llama.cpp (`ggml-quants.c`, `dequantize_row_*`), decoded in f32 with its order of operations.

use super::half::{f32_from_bf16, f32_from_f16};

/// How a tensor's elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation: those of llama.cpp")]
#[expect(non_camel_case_types, reason = "the names are those of llama.cpp")]
pub enum TensorType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

impl TensorType {
    /// The type with this number, or the name of a type that is not read.
    pub(super) fn from_code(code: u32) -> Result<Self, String> {
        let name = match code {
            0 => return Ok(Self::F32),
            1 => return Ok(Self::F16),
            2 => return Ok(Self::Q4_0),
            3 => return Ok(Self::Q4_1),
            6 => return Ok(Self::Q5_0),
            7 => return Ok(Self::Q5_1),
            8 => return Ok(Self::Q8_0),
            12 => return Ok(Self::Q4_K),
            13 => return Ok(Self::Q5_K),
            14 => return Ok(Self::Q6_K),
            30 => return Ok(Self::BF16),
            9 => "Q8_1",
            10 => "Q2_K",
            11 => "Q3_K",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            20 => "IQ4_NL",
            21 => "IQ3_S",
            22 => "IQ2_S",
            23 => "IQ4_XS",
            24 => "I8",
            25 => "I16",
            26 => "I32",
            27 => "I64",
            28 => "F64",
            29 => "IQ1_M",
            34 => "TQ1_0",
            35 => "TQ2_0",
            39 => "MXFP4",
            other => return Err(format!("type {other}")),
        };
        Err(name.to_owned())
    }

    /// The readable types, for error messages.
    pub(super) fn readable() -> &'static str {
        "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K"
    }

    /// Elements of one block.
    pub fn block_elements(self) -> u64 {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }
}

/// Decodes whole blocks; a rest shorter than a block is ignored.
pub(super) fn dequantise(kind: TensorType, bytes: &[u8]) -> Vec<f32> {
    let block_bytes = kind.block_bytes() as usize;
    let blocks = bytes.chunks_exact(block_bytes);
    let mut out = Vec::with_capacity(blocks.len() * kind.block_elements() as usize);
    for block in blocks {
        match kind {
            TensorType::F32 => out.push(f32::from_bits(u32_at(block, 0))),
            TensorType::F16 => out.push(f16_at(block, 0)),
            TensorType::BF16 => out.push(f32_from_bf16(u16::from_le_bytes([block[0], block[1]]))),
            TensorType::Q4_0 => {
                nibbles(&block[2..], &mut out, |_, q| f32::from(q as i8 - 8) * f16_at(block, 0))
            }
            TensorType::Q4_1 => {
                let (scale, least) = (f16_at(block, 0), f16_at(block, 2));
                nibbles(&block[4..], &mut out, |_, q| f32::from(q) * scale + least);
            }
            TensorType::Q5_0 => {
                let (scale, high) = (f16_at(block, 0), u32_at(block, 2));
                nibbles(&block[6..], &mut out, |j, q| f32::from((q | fifth_bit(high, j)) as i8 - 16) * scale);
            }
            TensorType::Q5_1 => {
                let (scale, least, high) = (f16_at(block, 0), f16_at(block, 2), u32_at(block, 4));
                nibbles(&block[8..], &mut out, |j, q| f32::from(q | fifth_bit(high, j)) * scale + least);
            }
            TensorType::Q8_0 => {
                let scale = f16_at(block, 0);
                out.extend(block[2..].iter().map(|q| f32::from(q.cast_signed()) * scale));
            }
            TensorType::Q4_K => q4_k(block, &mut out),
            TensorType::Q5_K => q5_k(block, &mut out),
            TensorType::Q6_K => q6_k(block, &mut out),
        }
    }
    out
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn f16_at(block: &[u8], at: usize) -> f32 {
    f32_from_f16(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// 16 bytes hold 32 elements: first all low nibbles, then all high ones.
fn nibbles(bytes: &[u8], out: &mut Vec<f32>, decode: impl Fn(usize, u8) -> f32) {
    out.extend(bytes.iter().enumerate().map(|(j, byte)| decode(j, byte & 0xf)));
    out.extend(bytes.iter().enumerate().map(|(j, byte)| decode(j + 16, byte >> 4)));
}

/// The fifth bit of element `j`, in place.
fn fifth_bit(high: u32, j: usize) -> u8 {
    (((high >> j) & 1) << 4) as u8
}

/// Scale and minimum of sub-block `j`: 6 bits each, packed in 12 bytes (`get_scale_min_k4`).
fn scale_and_least(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, least) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 0xf) | ((packed[j - 4] >> 6) << 4), (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4))
    };
    (f32::from(scale), f32::from(least))
}

fn q4_k(block: &[u8], out: &mut Vec<f32>) {
    let (scale, least, packed) = (f16_at(block, 0), f16_at(block, 2), &block[4..16]);
    for (pair, bytes) in block[16..].chunks_exact(32).enumerate() {
        for half in 0..2 {
            let (sub_scale, sub_least) = scale_and_least(packed, 2 * pair + half);
            let (d, m) = (scale * sub_scale, least * sub_least);
            out.extend(bytes.iter().map(|byte| d * f32::from((byte >> (4 * half)) & 0xf) - m));
        }
    }
}

fn q5_k(block: &[u8], out: &mut Vec<f32>) {
    let (scale, least, packed) = (f16_at(block, 0), f16_at(block, 2), &block[4..16]);
    let high = &block[16..48];
    for (pair, bytes) in block[48..].chunks_exact(32).enumerate() {
        for half in 0..2 {
            let sub = 2 * pair + half;
            let (sub_scale, sub_least) = scale_and_least(packed, sub);
            let (d, m) = (scale * sub_scale, least * sub_least);
            out.extend(bytes.iter().zip(high).map(|(byte, bits)| {
                let q = ((byte >> (4 * half)) & 0xf) | (((bits >> sub) & 1) << 4);
                d * f32::from(q) - m
            }));
        }
    }
}

fn q6_k(block: &[u8], out: &mut Vec<f32>) {
    let scale = f16_at(block, 208);
    for half in 0..2 {
        let low = &block[64 * half..64 * half + 64];
        let high = &block[128 + 32 * half..160 + 32 * half];
        let scales = &block[192 + 8 * half..200 + 8 * half];
        for group in 0..4 {
            out.extend((0..32).map(|l| {
                let nibble = (low[l + 32 * (group % 2)] >> (4 * (group / 2))) & 0xf;
                let q = (nibble | (((high[l] >> (2 * group)) & 3) << 4)) as i8 - 32;
                scale * f32::from(scales[l / 16 + 2 * group].cast_signed()) * f32::from(q)
            }));
        }
    }
}
