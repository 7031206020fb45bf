use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::Packed;
use super::rows::Rows;
use crate::random::seeded;

/// Random values of which bfloat16 holds `weight` exactly, or not.
fn random(outputs: i64, inputs: i64, rows: i64, is_half: bool, seed: u64) -> [Tensor; 3] {
    let filled = |size: &[i64]| Tensor::empty(size, (Kind::Float, Device::Cpu)).uniform_(-1.0, 1.0);
    let [weight, input, bias] =
        seeded(seed, || [filled(&[outputs, inputs]), filled(&[rows, inputs]), filled(&[outputs])]);
    let weight = if is_half { weight.to_kind(Kind::BFloat16).to_kind(Kind::Float) } else { weight };
    [weight, input, bias]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_those_of_libtorch_and_the_same_for_every_row_alone(
        outputs in 1..100_i64, inputs in 1..200_i64, rows in 1..40_i64,
        is_half in any::<bool>(), by_columns in any::<bool>(), with_bias in any::<bool>(), seed in any::<u64>(),
    ) {
        let [weight, input, bias] = random(outputs, inputs, rows, is_half, seed);
        let laid_out = if by_columns { weight.transpose(0, 1).contiguous().transpose(0, 1) } else { weight };
        let Some(packed) = Packed::new(&laid_out).unwrap() else { return Ok(()) };
        prop_assert_eq!(matches!(packed.panels, super::Panels::Half(_)), is_half);
        let bias = with_bias.then_some(bias);
        let product = packed.product(&input, bias.as_ref()).unwrap();
        let wanted = input.to_kind(Kind::Double).linear(
            &laid_out.to_kind(Kind::Double), bias.as_ref().map(|bias| bias.to_kind(Kind::Double)));
        prop_assert_eq!(product.size(), wanted.size());
        prop_assert!((&product - wanted).abs().max().double_value(&[]) < 1e-4);
        for row in 0..rows {
            let alone = packed.product(&input.narrow(0, row, 1), bias.as_ref()).unwrap();
            let together = product.narrow(0, row, 1);
            prop_assert_eq!(Rows::of(&alone).values(), Rows::of(&together).values());
        }
    }
}

#[test]
fn products_are_added_to_parts_of_columns() {
    let [weight, input, _] = random(40, 6, 14, true, 3);
    let wide = Tensor::ones([20, 100], (Kind::Float, Device::Cpu));
    let Some(packed) = Packed::new(&weight).unwrap() else { return };
    let columns = Tensor::cat(&[input.ones_like(), input.shallow_clone()], 1).narrow(1, 6, 6);
    packed.add_product(&columns, &mut wide.narrow(0, 3, 14).narrow(1, 50, 40)).unwrap();
    let wanted = Tensor::ones([20, 100], (Kind::Float, Device::Cpu));
    let _added =
        wanted.narrow(0, 3, 14).narrow(1, 50, 40).f_add_(&input.linear::<&Tensor>(&weight, None)).unwrap();
    assert!((wide - wanted).abs().max().double_value(&[]) < 1e-5);
}
