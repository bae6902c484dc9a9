//! Results in each form of `-o`: one, or many that come page by page.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    Format, print,
    table::{Column, Table},
};
use crate::Failure;

/// Something that verbs list.
pub(crate) trait Listed: Serialize {
    /// The columns of its table.
    const COLUMNS: &'static [Column];

    /// A cell for each column.
    fn cells(&self) -> Vec<String>;

    /// Its name, as other verbs take it.
    fn name(&self) -> Vec<u8>;
}

/// A list that is written as it comes, so that a long one needs no memory.
pub(crate) struct Listing {
    format: Format,
    table: Option<Table>,
    count: u64,
}

impl Listing {
    /// An empty list; nothing is printed yet.
    pub(crate) fn new(format: Format) -> Self {
        Listing { format, table: None, count: 0 }
    }

    /// Prints `items` after those before them.
    pub(crate) fn push<T: Listed>(&mut self, items: &[T]) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        print(&self.text(items))
    }

    /// Ends the list; how many items it had.
    pub(crate) fn finish(self) -> Result<u64, Failure> {
        match (self.format, self.count) {
            (Format::Json, 0) | (Format::Yaml, 0) => print(b"[]\n")?,
            (Format::Json, _) => print(b"\n]\n")?,
            _ => {}
        }
        Ok(self.count)
    }

    fn text<T: Listed>(&mut self, items: &[T]) -> Vec<u8> {
        let mut text = Vec::new();
        match self.format {
            Format::Table | Format::Wide => {
                let wide = self.format == Format::Wide;
                let table = self.table.get_or_insert_with(|| Table::new(T::COLUMNS, wide));
                let rows: Vec<_> = items.iter().map(|item| shown_cells(item, wide)).collect();
                text.extend_from_slice(table.rows(&rows).as_bytes());
            }
            Format::Json => {
                for (at, item) in items.iter().enumerate() {
                    let first = self.count == 0 && at == 0;
                    text.extend_from_slice(if first { b"[\n  " } else { b",\n  " });
                    text.extend_from_slice(json(item).replace('\n', "\n  ").as_bytes());
                }
            }
            Format::Yaml => text.extend_from_slice(yaml(&items).as_bytes()),
            Format::Name => {
                for item in items {
                    text.extend_from_slice(&item.name());
                    text.push(b'\n');
                }
            }
        }
        self.count += items.len() as u64;
        text
    }
}

fn shown_cells<T: Listed>(item: &T, wide: bool) -> Vec<String> {
    let cells = T::COLUMNS.iter().zip(item.cells());
    cells.filter(|(column, _)| wide || !column.wide).map(|(_, cell)| cell).collect()
}

/// Prints one item: `-o json`, `yaml` and `name` as everywhere, a table as `sheet` writes it.
pub(crate) fn print_one<T: Serialize>(
    format: Format,
    item: &T,
    name: &[u8],
    sheet: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut text = Vec::new();
    let written = match format {
        Format::Table | Format::Wide => sheet(&mut text),
        Format::Json => writeln!(text, "{}", json(item)),
        Format::Yaml => text.write_all(yaml(item).as_bytes()),
        Format::Name => text.write_all(name).and_then(|()| text.write_all(b"\n")),
    };
    written.map_err(Failure::local("formatting"))?;
    print(&text)
}

/// What is printed is made of strings, numbers and lists, which both forms can hold.
fn json(item: &impl Serialize) -> String {
    serde_json::to_string_pretty(item).expect("plain values are JSON")
}

fn yaml(item: &impl Serialize) -> String {
    serde_norway::to_string(item).expect("plain values are YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fish {
        name: &'static str,
        teeth: u32,
    }

    impl Listed for Fish {
        const COLUMNS: &'static [Column] = &[Column::text("NAME"), Column::number("TEETH").only_wide()];
        fn cells(&self) -> Vec<String> {
            vec![self.name.to_owned(), self.teeth.to_string()]
        }
        fn name(&self) -> Vec<u8> {
            self.name.into()
        }
    }

    fn pages(format: Format) -> String {
        let mut listing = Listing::new(format);
        let mut text = listing.text(&[Fish { name: "remora: \"1\"", teeth: 0 }, Fish { name: "shark", teeth: 300 }]);
        text.extend(listing.text(&[Fish { name: "no\x1b", teeth: 1 }]));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn every_form_of_a_list_in_pages_parses() {
        let json: serde_json::Value = serde_json::from_str(&(pages(Format::Json) + "\n]\n")).unwrap();
        let yaml: serde_json::Value = serde_norway::from_str(&pages(Format::Yaml)).unwrap();
        assert_eq!(json, yaml);
        assert_eq!(json[0]["name"], "remora: \"1\"");
        assert_eq!(json[2]["teeth"], 1);
        assert_eq!(pages(Format::Table), "NAME\nremora: \"1\"\nshark\nno\\x1b\n");
        assert_eq!(pages(Format::Wide).lines().count(), 4);
        assert_eq!(pages(Format::Name), "remora: \"1\"\nshark\nno\x1b\n");
    }

    #[test]
    fn what_is_written_for_machines_holds_no_control_character() {
        assert!(!pages(Format::Json).contains('\x1b'));
        assert!(!pages(Format::Yaml).contains('\x1b'));
    }
}
