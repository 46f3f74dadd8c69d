//! Rows of text as aligned columns, as `kubectl` prints them.

/// Number of spaces between columns.
const GAP: usize = 3;
/// Minimum width of a truncated column.
const MIN_WIDTH: usize = 8;

/// A header and rows. Each character counts as one column.
#[derive(Clone, Debug)]
pub(crate) struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(crate) fn new(header: [&'static str; N]) -> Self {
        Self { header, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The lines of the table; with a width, the widest columns are truncated until the lines fit.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let widths = self.widths(width);
        let header = self.header.map(str::to_uppercase);
        std::iter::once(&header).chain(&self.rows).map(|cells| line(cells, &widths)).collect()
    }

    fn widths(&self, limit: Option<usize>) -> [usize; N] {
        let column = |index: usize| {
            let cells = self.rows.iter().map(|row| length(&row[index]));
            cells.chain([length(self.header[index])]).max().unwrap_or(0)
        };
        let mut widths = std::array::from_fn(column);
        let gaps = GAP * N.saturating_sub(1);
        while limit.is_some_and(|limit| widths.iter().sum::<usize>() + gaps > limit) {
            match widths.iter_mut().max() {
                Some(widest) if *widest > MIN_WIDTH => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = cut(cell, *width);
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', width - length(&cell) + GAP));
    }
    line.trim_end().to_string()
}

/// The text, truncated with an ellipsis if it is wider than the column.
fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_string();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new(["id", "labels", "name"]);
        table.push([
            "256".into(),
            "k8s:id=app1,k8s:io.kubernetes.pod.namespace=default".into(),
            "app1".into(),
        ]);
        table.push(["1".into(), "reserved:host".into(), String::new()]);
        table
    }

    #[test]
    fn columns_are_aligned_under_a_header_in_capitals() {
        assert_eq!(
            table().lines(None),
            [
                "ID    LABELS                                                NAME",
                "256   k8s:id=app1,k8s:io.kubernetes.pod.namespace=default   app1",
                "1     reserved:host",
            ]
        );
    }

    #[test]
    fn the_widest_column_is_truncated_to_fit_the_terminal() {
        let lines = table().lines(Some(40));
        assert_eq!(lines[1], "256   k8s:id=app1,k8s:io.kuberne…   app1");
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
    }

    #[test]
    fn no_column_is_truncated_to_less_than_the_minimum() {
        assert_eq!(table().lines(Some(5))[1], "256   k8s:id=…   app1");
    }
}
