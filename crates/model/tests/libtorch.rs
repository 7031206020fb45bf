//! LibTorch is found at run time with no variables set: the rpath of `build.rs` reaches the tests.

#[test]
fn a_tensor_is_computed() {
    let sum = tch::Tensor::from_slice(&[1.5f32, 2.5]).sum(tch::Kind::Float);
    assert_eq!(f64::try_from(&sum).unwrap(), 4.0);
}
