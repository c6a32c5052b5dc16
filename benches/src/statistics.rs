//! Quantiles.

/// The value below which the part `at` of all samples lies, by nearest rank; not a
/// number if there are none.
pub(crate) fn quantile(samples: impl IntoIterator<Item = f64>, at: f64) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    let index = (last as f64 * at).round() as usize;
    samples.get(index).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    quantile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(quantile(samples, 0.0), 1.0);
        assert_eq!(median(samples), 3.0);
        assert_eq!(quantile(samples, 0.99), 5.0);
        assert!(median([]).is_nan());
    }
}
