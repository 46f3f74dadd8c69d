//! How long each step of an attachment took: the agent logs it for each pod.

use std::fmt;
use std::time::{Duration, Instant};

/// The steps of one attachment that have ended, and how long each took, waits included.
#[derive(Debug)]
pub(crate) struct StepTimes {
    begin: Instant,
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl StepTimes {
    /// The first step begins now.
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { begin: now, last: now, steps: Vec::new() }
    }

    /// A step ends now, and the next one begins.
    pub(crate) fn end(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push((step, now - self.last));
        self.last = now;
    }
}

impl fmt::Display for StepTimes {
    /// The sum and each step in milliseconds: `6.1 ms: pod 0.2, turn 5.9`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(f, "{:.1} ms", millis(self.last - self.begin))?;
        for (number, (step, time)) in self.steps.iter().enumerate() {
            write!(f, "{} {step} {:.1}", if number == 0 { ":" } else { "," }, millis(*time))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_printed_in_order_after_their_sum() {
        let begin = Instant::now();
        let steps = vec![("pod", Duration::from_micros(150)), ("turn", Duration::from_micros(6000))];
        let times = StepTimes { begin, last: begin + Duration::from_micros(6150), steps };
        assert_eq!(times.to_string(), "6.2 ms: pod 0.1, turn 6.0");
    }
}
