//! Figures as people read them: medians, ratios, numbers in groups of three, columns under a header.

/// Columns are this far apart.
const GAP: usize = 3;

/// The middle one of the values; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that a share of the values is below, between two of them in proportion.
fn quantile(values: &[f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "nothing has no middle");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Each value by the one of the same round: what slows the whole machine down for a while slows both.
pub(crate) fn ratios(values: &[f64], first: &[f64]) -> Vec<f64> {
    values.iter().zip(first).map(|(value, first)| value / first).collect()
}

/// The median of ratios, and the bounds of the half of them in the middle: `0.98 (0.95-1.02)`.
pub(crate) fn spread(ratios: &[f64]) -> String {
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(ratios, share));
    format!("{middle:.2} ({low:.2}-{high:.2})")
}

/// A whole number in groups of three: `12,345`.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A header and rows under it; the first column begins at the left, the others end at the right.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|title| title.to_uppercase()).collect()] }
    }

    /// Adds a row; cells that are left out at its end are empty.
    pub(crate) fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines of the table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows.iter().map(|row| line(row, &widths)).collect()
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        if index == 0 {
            line.push_str(&format!("{cell:<width$}"));
        } else {
            line.push_str(&format!("{:GAP$}{cell:>width$}", ""));
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    // Named in full: in the benchmark itself these functions are left out, and an import would be unused.

    #[test]
    fn a_median_is_not_moved_by_one_that_is_far_out() {
        assert_eq!(super::median(&[3.0, 1.0, 1000.0]), 3.0);
        assert_eq!(super::median(&[4.0, 1.0, 2.0, 1000.0]), 3.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let slow_second_round = super::ratios(&[50.0, 5.0, 40.0], &[100.0, 10.0, 100.0]);
        assert_eq!(slow_second_round, [0.5, 0.5, 0.4]);
    }

    #[test]
    fn a_spread_leaves_out_a_quarter_on_either_side() {
        assert_eq!(super::spread(&[9.0, 1.1, 1.0, 0.9, 0.1]), "1.00 (0.90-1.10)");
        assert_eq!(super::spread(&[1.0]), "1.00 (1.00-1.00)");
    }

    #[test]
    fn numbers_are_grouped_from_the_right() {
        let read: Vec<String> = [0.4, 999.0, 1000.0, 1_234_567.6].into_iter().map(super::grouped).collect();
        assert_eq!(read, ["0", "999", "1,000", "1,234,568"]);
    }

    #[test]
    fn names_begin_at_the_left_and_figures_end_at_the_right() {
        let mut table = super::Table::new(&["between", "per second", "ratio"]);
        table.push(["plain kernel routing".into(), "9".into(), "1.00".into()]);
        table.push(["nexin".into(), "1,234".into()]);
        assert_eq!(
            table.lines(),
            [
                "BETWEEN                PER SECOND   RATIO",
                "plain kernel routing            9    1.00",
                "nexin                       1,234",
            ]
        );
    }
}
