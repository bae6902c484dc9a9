//! Tables whose columns line up, whatever the width of their characters.

use unicode_width::UnicodeWidthStr as _;

use super::escape;

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// What stands above it.
    pub(crate) header: &'static str,
    /// Where its cells stand.
    pub(crate) align: Align,
    /// Whether it is left out unless `-o wide` was given.
    pub(crate) wide: bool,
}

impl Column {
    /// A column of words.
    pub(crate) const fn text(header: &'static str) -> Self {
        Column { header, align: Align::Left, wide: false }
    }

    /// A column of numbers.
    pub(crate) const fn number(header: &'static str) -> Self {
        Column { header, align: Align::Right, wide: false }
    }

    /// The same, only in wide tables.
    pub(crate) const fn only_wide(self) -> Self {
        Column { wide: true, ..self }
    }
}

/// Space between two columns.
const GAP: usize = 2;
/// Widest cell that others are lined up with; a wider one sticks out of its own row only.
const WIDEST: usize = 60;

/// A table that is written piece by piece: its columns are as wide as the
/// first piece needs, and grow.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    widths: Vec<usize>,
    begun: bool,
}

impl Table {
    /// A table of those of `columns` that are shown.
    pub(crate) fn new(columns: &[Column], wide: bool) -> Self {
        let columns: Vec<Column> = columns.iter().filter(|column| wide || !column.wide).copied().collect();
        let widths = columns.iter().map(|column| column.header.width()).collect();
        Table { columns, widths, begun: false }
    }

    /// The text of further rows, each with a cell for every column that is shown.
    pub(crate) fn rows(&mut self, rows: &[Vec<String>]) -> String {
        let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width().min(WIDEST));
            }
        }
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            let header: Vec<_> = self.columns.iter().map(|column| column.header).collect();
            self.line(&header, &mut text);
        }
        for row in &rows {
            self.line(row, &mut text);
        }
        text
    }

    fn line(&self, cells: &[impl AsRef<str>], text: &mut String) {
        for (at, cell) in cells.iter().enumerate() {
            let cell = cell.as_ref();
            let pad = self.widths[at].saturating_sub(cell.width());
            if self.columns[at].align == Align::Right {
                text.extend(std::iter::repeat_n(' ', pad));
            }
            text.push_str(cell);
            if at + 1 < cells.len() {
                let rest = if self.columns[at].align == Align::Left { pad } else { 0 };
                text.extend(std::iter::repeat_n(' ', rest + GAP));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::text("NAME"), Column::number("SIZE"), Column::text("PATH").only_wide()];

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_line_up() {
        let text = Table::new(&COLUMNS, true).rows(&[row(&["a", "1", "x"]), row(&["日本", "1000", ""])]);
        assert_eq!(text, "NAME  SIZE  PATH\na        1  x\n日本  1000\n");
    }

    #[test]
    fn wide_columns_are_left_out_and_later_rows_have_no_second_header() {
        let mut table = Table::new(&COLUMNS, false);
        assert_eq!(table.rows(&[row(&["a", "1"])]), "NAME  SIZE\na        1\n");
        assert_eq!(table.rows(&[row(&["bb", "2"])]), "bb       2\n");
    }

    #[test]
    fn a_cell_cannot_drive_the_terminal_or_break_its_row() {
        let text = Table::new(&COLUMNS, false).rows(&[row(&["a\x1b[2J\nb", "1"])]);
        assert!(!text.contains('\x1b') && text.lines().count() == 2, "{text:?}");
    }

    #[test]
    fn one_long_cell_does_not_push_the_others_out() {
        let long = "x".repeat(300);
        let text = Table::new(&COLUMNS, false).rows(&[row(&[&long, "1"]), row(&["a", "2"])]);
        assert!(text.lines().last().unwrap().len() < 80, "{text}");
    }
}
