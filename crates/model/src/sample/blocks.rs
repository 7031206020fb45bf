//! Picks where the probabilities are: from a GPU come the largest of each row, the sums of its blocks and one block, not all.

use tch::{Device, Kind, Tensor};

use super::SampleSettings;
use super::filter::{BLOCK, Place, floor, is_enough, is_unfiltered};
use crate::Result;
use crate::packed::Rows;

/// The largest probabilities of a row that are looked at; where filters need more, all of the row are.
const RANKED: i64 = 1024;

/// One token for each row of `probabilities` `[N, V]`, by numbers in `[0, 1)`, as [`super::filter::pick_one`] picks it. None in all
/// where a filter needs more than the largest; none for a row whose probabilities are no numbers.
pub(super) fn pick(
    settings: &SampleSettings,
    probabilities: &Tensor,
    units: &[f64],
) -> Result<Option<Vec<Option<u32>>>> {
    let Some(floors) = floors(settings, probabilities)? else { return Ok(None) };
    let (rows, width) = probabilities.size2()?;
    let blocks = (width as u64).div_ceil(BLOCK as u64) as i64;
    let filled = probabilities.f_constant_pad_nd([0, blocks * BLOCK as i64 - width])?;
    let lowest = Tensor::f_from_slice(&floors)?.f_to_device(probabilities.device())?;
    let passes = filled.f_ge_tensor(&lowest.f_unsqueeze(1)?)?;
    let kept = filled.f_where_self(&passes, &filled.f_zeros_like()?)?;
    let kept = kept.f_view([rows, blocks, BLOCK as i64])?;
    let sums = kept.f_sum_dim_intlist([-1i64].as_slice(), false, wide(probabilities.device()))?;
    let sums = Vec::<f64>::try_from(sums.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_view([-1])?)?;
    let places: Vec<Option<Place>> =
        sums.chunks(blocks as usize).zip(units).map(|(sums, unit)| Place::find(sums, *unit)).collect();
    let lines = places.iter().zip(0..).map(|(place, row)| {
        let block = place.as_ref().map_or(0, |place| place.block as i64);
        row * blocks + block
    });
    let lines = Tensor::f_from_slice(&lines.collect::<Vec<i64>>())?.f_to_device(probabilities.device())?;
    let chosen = kept.f_view([rows * blocks, BLOCK as i64])?.f_index_select(0, &lines)?;
    let chosen = chosen.f_to_device(Device::Cpu)?.f_contiguous()?;
    let blocks = Rows::of(&chosen);
    let one = |(row, place): (usize, &Option<Place>)| {
        place.as_ref().map(|place| place.pick(blocks.row(row), floors[row]))
    };
    Ok(Some(places.iter().enumerate().map(one).collect()))
}

/// The type that sums are made in: Apple GPUs have no float64.
fn wide(device: Device) -> Kind {
    if device == Device::Mps { Kind::Float } else { Kind::Double }
}

/// The least probability of each row that passes; none where the largest are not enough to tell.
fn floors(settings: &SampleSettings, probabilities: &Tensor) -> Result<Option<Vec<f32>>> {
    let (rows, width) = probabilities.size2()?;
    if is_unfiltered(settings) {
        return Ok(Some(vec![f32::MIN_POSITIVE; rows as usize]));
    }
    let (largest, _) = probabilities.f_topk(RANKED.min(width), -1, true, true)?;
    let largest = largest.f_to_device(Device::Cpu)?.f_contiguous()?;
    let largest = Rows::of(&largest);
    let enough = |row: &usize| RANKED >= width || is_enough(settings, largest.row(*row));
    let all = (0..rows as usize).all(|row| enough(&row));
    Ok(all.then(|| (0..rows as usize).map(|row| floor(settings, largest.row(row))).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::filter;

    fn settings() -> impl Strategy<Value = SampleSettings> {
        let top_k = prop_oneof![Just(0u32), 1..100u32];
        let top_p = prop_oneof![Just(1.0), 0.05..1.0];
        let min_p = prop_oneof![Just(0.0), 0.0..0.5];
        (top_k, top_p, min_p).prop_map(|(top_k, top_p, min_p)| SampleSettings {
            top_k,
            top_p,
            min_p,
            ..SampleSettings::default()
        })
    }

    proptest! {
        #[test]
        fn blocks_pick_what_whole_rows_do(
            settings in settings(),
            width in 1..3000i64,
            seed in 0..1000i64,
            sharpness in 0.0..8.0f64,
            units in proptest::collection::vec(0.0..1.0f64, 1..4),
        ) {
            tch::manual_seed(seed);
            let logits = Tensor::randn([units.len() as i64, width], (Kind::Float, Device::Cpu)) * sharpness;
            let probabilities = logits.softmax(-1, Kind::Float);
            let rows = Rows::of(&probabilities);
            let whole: Vec<_> =
                units.iter().enumerate().map(|(row, unit)| filter::pick_one(&settings, rows.row(row), *unit)).collect();
            match pick(&settings, &probabilities, &units).unwrap() {
                Some(picked) => prop_assert_eq!(picked, whole),
                None => prop_assert!(width > RANKED && settings.top_k == 0),
            }
        }
    }

    #[test]
    fn probabilities_that_are_no_numbers_pick_nothing() {
        let probabilities = Tensor::full([2, 700], 1.0 / 700.0, (Kind::Float, Device::Cpu));
        let _filled = probabilities.get(0).fill_(f64::NAN);
        let picked = pick(&SampleSettings::default(), &probabilities, &[0.5, 0.5]).unwrap().unwrap();
        assert_eq!(picked[0], None);
        assert!(picked[1].is_some());
    }
}
