//! What a report says, before it is known how it will look.

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Short sentences.
    List(Vec<String>),
    /// A table.
    Table(Table),
    /// A table that not every reader needs, under its own small heading.
    Folded(String, Table),
}

/// A column's title and whether it holds numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) right: bool,
}

/// A column of words.
pub(super) const fn words(title: &'static str) -> Column {
    Column { title, right: false }
}

/// A column of numbers.
pub(super) const fn numbers(title: &'static str) -> Column {
    Column { title, right: true }
}

/// A table. Rows are as long as the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Whether a cell says what the row above says already, as do all cells before it: a reader sees groups.
    pub(super) fn repeats(&self, row: usize, column: usize) -> bool {
        const LEADING: usize = 2;
        let same = |column: usize| self.rows[row][column] == self.rows[row - 1][column];
        row > 0 && column < LEADING && (0..=column).all(same)
    }

    pub(super) fn push<const N: usize>(&mut self, row: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(row.into());
    }
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What fits a terminal: judges over all prompts and splits, domains for the panel alone.
    Short,
    /// Everything.
    Full,
}
