//! Figures for people.

use crate::operation::Unit;

/// With three digits and a unit.
pub(crate) fn figure(value: f64, unit: Unit) -> String {
    let (factor, names): (f64, &[&str]) = match unit {
        Unit::Nanoseconds => (1_000.0, &["ns", "µs", "ms", "s"]),
        Unit::Bytes => (1_024.0, &["B", "KiB", "MiB", "GiB"]),
    };
    let mut value = value;
    let mut names = names.iter();
    let mut name = names.next();
    while value.abs() >= factor * 0.9995 && names.len() > 0 {
        value /= factor;
        name = names.next();
    }
    let digits = match value.abs() {
        0.0..0.9995 => 2,
        0.9995..99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", name.unwrap_or(&""))
}

/// With two digits, and at most two decimals unless it is small.
pub(crate) fn ratio(ratio: f64) -> String {
    let digits = match ratio.abs() {
        0.0..0.0995 if ratio > 0.0 => (-ratio.log10()).floor() as usize + 2,
        0.0..99.5 => 2,
        _ => 0,
    };
    format!("{ratio:.digits$}×")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_a_fitting_unit() {
        let time = |value| figure(value, Unit::Nanoseconds);
        assert_eq!(time(0.62), "0.62 ns");
        assert_eq!(time(17.0), "17.0 ns");
        assert_eq!(time(999.9), "1.0 µs");
        assert_eq!(time(123_456.0), "123 µs");
        assert_eq!(time(7.2e12), "7200 s");
        assert_eq!(figure(2_048.0, Unit::Bytes), "2.0 KiB");
    }

    #[test]
    fn small_ratios_keep_their_digits() {
        assert_eq!(ratio(0.031), "0.031×");
        assert_eq!(ratio(0.05), "0.050×");
        assert_eq!(ratio(0.000_021), "0.000021×");
        assert_eq!(ratio(0.0), "0.00×");
        assert_eq!(ratio(1.0), "1.00×");
        assert_eq!(ratio(123.4), "123×");
    }
}
