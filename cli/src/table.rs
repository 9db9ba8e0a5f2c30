//! Tables for people.

use crate::console::{Console, Style};
use crate::failure::Failure;

/// A heading and its rows.
pub(crate) fn print_table<const N: usize>(
    heading: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    console: &mut Console<'_, '_>,
) -> Result<(), Failure> {
    let rows: Vec<_> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    for (index, line) in columns(&rows).iter().enumerate() {
        let colored = index == 0 && console.colors_stdout();
        console.line(&Style::Heading.paint(line, colored))?;
    }
    Ok(())
}

/// Left-aligned columns, two spaces apart, no spaces at the end of a line.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).filter(|(_, width)| *width > 0);
        let padded: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_an_empty_one_takes_no_room() {
        let rows = [["a", "", "x"], ["long", "", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), ["a     x", "long"]);
        assert!(columns::<2>(&[]).is_empty());
    }
}
