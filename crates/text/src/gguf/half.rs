//! The two 16-bit floats, in both directions that an import needs.

/// IEEE binary16 to f32, exact (subnormals, infinities and NaN included).
pub(super) fn f32_from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        0 => {
            let magnitude = fraction as f32 * f32::from_bits(0x3380_0000); // 2^-24
            f32::from_bits(magnitude.to_bits() | sign)
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// bfloat16 to f32, exact.
pub(super) fn f32_from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// f32 to bfloat16, to nearest with ties to even, as PyTorch rounds; NaN stays NaN.
pub(super) fn bf16_from_f32(number: f32) -> u16 {
    let bits = number.to_bits();
    if number.is_nan() {
        return (bits >> 16) as u16 | 0x0040;
    }
    let round = 0x7fff + ((bits >> 16) & 1);
    (bits.wrapping_add(round) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (bits, number) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
        ] {
            assert_eq!(f32_from_f16(bits), number);
        }
        assert!(f32_from_f16(0x7c01).is_nan());
        assert_eq!(f32_from_f16(0xfc00), f32::NEG_INFINITY);
        assert_eq!(f32_from_f16(0x8000).to_bits(), 0x8000_0000);
        // Ties go to the even neighbour: 1 + 2^-8 down to 1, 1 + 3 * 2^-8 up to 1 + 2^-6.
        assert_eq!(bf16_from_f32(1.0 + 2f32.powi(-8)), 0x3f80);
        assert_eq!(bf16_from_f32(1.0 + 3.0 * 2f32.powi(-8)), 0x3f82);
        assert_eq!(bf16_from_f32(f32::MAX), 0x7f80);
        assert!(f32_from_bf16(bf16_from_f32(f32::NAN)).is_nan());
    }

    #[test]
    fn bf16_round_trips() {
        for bits in 0..=u16::MAX {
            let number = f32_from_bf16(bits);
            if !number.is_nan() {
                assert_eq!(bf16_from_f32(number), bits);
            }
        }
    }
}
