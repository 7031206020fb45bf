//! Beside what bitsandbytes makes of the same matrices (`tests/fixtures/make_nf4.py`).

use std::path::Path;

use super::*;

fn fixture() -> Vec<(String, Tensor)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nf4/codes.safetensors");
    Tensor::read_safetensors(path).unwrap()
}

#[test]
fn codes_sizes_and_values_are_those_of_bitsandbytes_to_the_last_bit() {
    let fixture = fixture();
    let golden = |wanted: &str| &fixture.iter().find(|(name, _)| name == wanted).unwrap().1;
    assert!(sizes_table(Device::Cpu).unwrap().equal(golden("table")));
    for name in ["small", "two", "half", "zeros"] {
        let part = |part: &str| golden(&format!("{name}.{part}"));
        let ours = Nf4::new(part("matrix")).unwrap();
        assert!(ours.codes.equal(part("codes")), "{name}: codes");
        assert!(ours.sizes.equal(part("sizes")), "{name}: sizes");
        assert!(ours.scales.equal(part("scales")), "{name}: scales");
        assert!(ours.offset.equal(part("offset")), "{name}: offset");
        assert!(ours.values(Kind::Float).unwrap().equal(part("values")), "{name}: values");
    }
}

#[test]
fn values_of_a_matrix_whose_last_block_is_short_are_near_the_matrix() {
    let matrix = Tensor::arange(70i64, (Kind::Float, Device::Cpu)).view([10, 7]) / 70.0;
    let ours = Nf4::new(&matrix).unwrap();
    let apart = (ours.values(Kind::Float).unwrap() - &matrix).abs();
    // Half of the widest gap of the table, of the largest value; sizes are rounded too.
    assert!(apart.max().double_value(&[]) < 0.16, "{apart}");
    let half = ours.values(Kind::BFloat16).unwrap();
    assert!(half.kind() == Kind::BFloat16 && half.size() == [10, 7]);
}

#[test]
fn a_matrix_takes_little_more_than_half_a_byte_a_value() {
    let ours = Nf4::new(&Tensor::randn([512, 512], (Kind::Float, Device::Cpu))).unwrap();
    let bytes = ours.bytes() as f64 / (512.0 * 512.0);
    assert!((bytes - 0.5159).abs() < 1e-3, "{bytes} bytes a value");
}
