//! Repeated measurements and their quantiles.

use std::time::Duration;

/// Sorted measurements.
#[derive(Clone, Debug)]
pub(super) struct Samples<T>(Vec<T>);

impl<T: Ord> FromIterator<T> for Samples<T> {
    fn from_iter<I: IntoIterator<Item = T>>(samples: I) -> Self {
        let mut sorted: Vec<T> = samples.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }
}

impl<T: Copy + Default> Samples<T> {
    /// The quantile of this share, from 0 (minimum) to 1 (maximum); the default without samples.
    pub(super) fn quantile(&self, share: f64) -> T {
        let place = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(place.max(1) - 1).copied().unwrap_or_default()
    }
}

/// A duration in milliseconds.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_hundred_is_over_the_ninety_ninth_percentile() {
        let samples: Samples<usize> = (1..=100).rev().collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| samples.quantile(share)), [1, 50, 99, 100]);
    }

    #[test]
    fn one_sample_is_every_quantile() {
        let samples: Samples<usize> = [7].into_iter().collect();
        assert_eq!([0.0, 0.5, 0.99].map(|share| samples.quantile(share)), [7; 3]);
        assert_eq!(Samples::from_iter([0_usize; 0]).quantile(0.5), 0);
    }
}
