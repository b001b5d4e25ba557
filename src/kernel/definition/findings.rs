//! Where mistakes are collected while reading goes on: reading never stops at the first one.

use crate::kernel::definition::{Diagnostic, SourceText};

/// A place in the files that are being read. Ordered as the files were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub file: usize,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

pub(super) struct Findings<'f> {
    files: &'f [SourceText],
    mistakes: Vec<Diagnostic>,
}

impl<'f> Findings<'f> {
    pub fn new(files: &'f [SourceText]) -> Findings<'f> {
        Findings { files, mistakes: Vec::new() }
    }

    /// Records one mistake: what is wrong, and what would be right.
    pub fn mistake(&mut self, place: Place, what: impl Into<String>, help: impl Into<String>) {
        self.record(place, what.into(), Some(help.into()));
    }

    /// For the few mistakes of which nobody can say what was meant.
    pub fn mistake_without_help(&mut self, place: Place, what: impl Into<String>) {
        self.record(place, what.into(), None);
    }

    /// How many there are: an element is good where reading it added none.
    pub fn count(&self) -> usize {
        self.mistakes.len()
    }

    /// A place as a message about another one names it.
    pub fn describe(&self, place: Place) -> String {
        format!("{}:{}:{}", self.files[place.file].path, place.line, place.column)
    }

    /// All of them, ordered by place.
    pub fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.mistakes.sort();
        self.mistakes
    }

    fn record(&mut self, place: Place, what: String, help: Option<String>) {
        let path = self.files[place.file].path.clone();
        self.mistakes.push(Diagnostic { path, line: place.line, column: place.column, what, help });
    }
}
