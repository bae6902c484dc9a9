//! `-o`.

use clap::{Args, ValueEnum};

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// The table with every column.
    Wide,
    /// JSON; lists are one array.
    Json,
    /// YAML; lists are one sequence.
    Yaml,
    /// Names alone, one a line.
    Name,
}

/// The flag of every verb that lists or shows something.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// How to write the result.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}
