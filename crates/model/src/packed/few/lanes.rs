//! Loops over floats, written so that the compiler makes vectors of them, and compiled for processors with AVX-512.

/// Values worked on at once.
const LANES: usize = 16;

macro_rules! with_vectors {
    ($(#[$doc:meta])* $name:ident, $plain:ident, ($($argument:ident: $kind:ty),*)) => {
        $(#[$doc])*
        pub(super) fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn vectors($($argument: $kind),*) {
                    $plain($($argument),*);
                }
                if crate::packed::is_supported() {
                    #[expect(unsafe_code, reason = "the compiler does not know the processor")]
                    // Safety: the processor was asked.
                    return unsafe { vectors($($argument),*) };
                }
            }
            $plain($($argument),*);
        }
    };
}

with_vectors!(
    /// `input` over its root mean square, times the weight.
    rms_norm, plain_rms_norm, (input: &[f32], weight: &[f32], epsilon: f32, output: &mut [f32])
);

with_vectors!(
    /// Heads of `width` values each in `queries`, over keys and values of as many positions; answers in `mixed`.
    attend, plain_attend,
    (queries: &[f32], keys: &[f32], values: &[f32], scale: f32, width: usize, mixed: &mut [f32])
);

with_vectors!(
    /// `up` times the SiLU of `gate`.
    silu_mul, plain_silu_mul, (gate: &[f32], up: &[f32], output: &mut [f32])
);

#[inline(always)]
fn plain_silu_mul(gate: &[f32], up: &[f32], output: &mut [f32]) {
    for ((output, gate), up) in output.iter_mut().zip(gate).zip(up) {
        // Of the exponential of a number of 0 or less, on either side: the other overflows.
        let small = exp(-gate.abs());
        let share = if *gate < 0.0 { small } else { 1.0 };
        *output = gate * share / (1.0 + small) * up;
    }
}

#[inline(always)]
fn plain_rms_norm(input: &[f32], weight: &[f32], epsilon: f32, output: &mut [f32]) {
    let mean_square = dot(input, input) / input.len() as f32;
    let factor = (mean_square + epsilon).sqrt().recip();
    for ((output, input), weight) in output.iter_mut().zip(input).zip(weight) {
        *output = input * factor * weight;
    }
}

#[inline(always)]
fn plain_attend(queries: &[f32], keys: &[f32], values: &[f32], scale: f32, width: usize, mixed: &mut [f32]) {
    let mut weights = vec![0.0; keys.len() / width];
    for (query, mixed) in queries.chunks_exact(width).zip(mixed.chunks_exact_mut(width)) {
        for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(width)) {
            *weight = dot(query, key) * scale;
        }
        let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for weight in &mut weights {
            *weight = exp(*weight - most);
        }
        let sum: f32 = weights.iter().sum();
        mixed.fill(0.0);
        for (weight, value) in weights.iter().zip(values.chunks_exact(width)) {
            for (mixed, value) in mixed.iter_mut().zip(value) {
                *mixed = weight.mul_add(*value, *mixed);
            }
        }
        for mixed in mixed {
            *mixed /= sum;
        }
    }
}

/// Sums in lanes first: the order of additions depends on the length alone.
#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (lefts, left_rest) = left.as_chunks::<LANES>();
    let (rights, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (left, right) in lefts.iter().zip(rights) {
        for lane in 0..LANES {
            sums[lane] = left[lane].mul_add(right[lane], sums[lane]);
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0] + rest
}

/// e to a number of 0 or less, to one part in ten million; 0 below -87. Powers of two times a polynomial on half a step to
/// each side (the coefficients of Cephes `expf`).
#[inline(always)]
fn exp(value: f32) -> f32 {
    // Added to this, a number is rounded to a whole one, which is then in the lowest bits: no conversion, which compilers do not
    // make vectors of.
    const WHOLE: f32 = 12_582_912.0;
    let value = value.max(-87.0);
    let shifted = value.mul_add(std::f32::consts::LOG2_E, WHOLE);
    let steps = shifted - WHOLE;
    let rest = steps.mul_add(-0.693_359_4, value);
    let rest = steps.mul_add(2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum.mul_add(rest, coefficient);
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (sum * rest).mul_add(rest, rest + 1.0) * power
}

#[cfg(test)]
mod tests {
    #[test]
    fn exponentials_are_close() {
        for step in 0..20_000_u16 {
            let value = -f32::from(step) / 230.0;
            let wanted = f64::from(value).exp();
            assert!((f64::from(super::exp(value)) / wanted - 1.0).abs() < 2e-7, "{value}");
        }
        assert_eq!(super::exp(0.0), 1.0);
        assert!(super::exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn gates_are_those_of_silu() {
        let gates: Vec<f32> = (-2_000..2_000_i16).map(|step| f32::from(step) / 20.0).collect();
        let mut output = vec![0.0; gates.len()];
        super::silu_mul(&gates, &vec![2.0; gates.len()], &mut output);
        for (gate, output) in gates.iter().zip(output) {
            let wanted = 2.0 * f64::from(*gate) / (1.0 + f64::from(-gate).exp());
            assert!((f64::from(output) - wanted).abs() <= 3e-7 * wanted.abs() + 1e-30, "{gate}: {output}");
        }
    }
}
