//! Tables: columns as wide as their widest cell, the elastic ones cut until the whole fits.

use std::io::{self, Write};

use anstyle::Style;

use super::output::columns;
use super::style;
use super::text::fit;

/// Between two columns.
const GAP: &str = "  ";
/// An elastic column is never cut below this.
const ELASTIC_MIN: usize = 8;

/// On which side a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Names and words.
    Left,
    /// Numbers.
    Right,
    /// Words that may be cut when the terminal is narrow.
    Elastic,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) align: Align,
}

/// Rows of cells, each with a style.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Style)>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: Vec<(String, Style)>) {
        self.rows.push(cells);
    }

    /// Writes it, as wide as the terminal at most.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(self.lay_out(columns()).as_bytes())
    }

    fn lay_out(&self, room: usize) -> String {
        let widths = self.widths(room);
        let mut text = String::new();
        let titles: Vec<_> = self.columns.iter().map(|c| (c.title.to_owned(), style::FAINT)).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for (n, (column, width)) in self.columns.iter().zip(&widths).enumerate() {
                let (cell, style) = row.get(n).cloned().unwrap_or_default();
                let cell = fit(&cell, *width);
                let pad = " ".repeat(width - cell.chars().count());
                let painted = if cell.is_empty() { cell } else { style::paint(style, cell) };
                let cell = if column.align == Align::Right {
                    format!("{pad}{painted}")
                } else {
                    format!("{painted}{pad}")
                };
                if n > 0 {
                    line.push_str(GAP);
                }
                line.push_str(&cell);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self, room: usize) -> Vec<usize> {
        let cell =
            |row: &Vec<(String, Style)>, n: usize| row.get(n).map_or(0, |(text, _)| text.chars().count());
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|n| {
                self.rows
                    .iter()
                    .map(|row| cell(row, n))
                    .max()
                    .unwrap_or(0)
                    .max(self.columns[n].title.chars().count())
            })
            .collect();
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        loop {
            let over = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
            let elastic = (0..widths.len())
                .filter(|n| self.columns[*n].align == Align::Elastic && widths[*n] > ELASTIC_MIN);
            match elastic.max_by_key(|n| widths[*n]) {
                Some(widest) if over > 0 => widths[widest] -= 1,
                _ => return widths,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_cut_their_elastic_columns() {
        let column = |title, align| Column { title, align };
        let mut table = Table::new(&[
            column("NAME", Align::Left),
            column("N", Align::Right),
            column("WHY", Align::Elastic),
        ]);
        let plain = |text: &str| (text.to_owned(), Style::new());
        table.row(vec![plain("a"), plain("100"), plain("a long reason that goes on")]);
        table.row(vec![plain("example"), plain("7")]);
        let check = |room: usize, expected: &[&str]| {
            let shown = anstream::adapter::strip_str(&table.lay_out(room)).to_string();
            assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
        };
        check(80, &["NAME       N  WHY", "a        100  a long reason that goes on", "example    7"]);
        check(30, &["NAME       N  WHY", "a        100  a long reason t…", "example    7"]);
        check(5, &["NAME       N  WHY", "a        100  a long …", "example    7"]);
    }
}
