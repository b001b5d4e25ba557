//! Why values of a view cannot be told.

use std::mem::discriminant;

use crate::kernel::codec;
use crate::kernel::key::Shard;
use crate::kernel::name::Name;
use crate::online;

/// Of some of the rows, or of all.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("view `{0}` is being built from the log and is not served yet")]
    Rebuilding(Name),
    #[error("a stored row of view `{view}` in shard {} cannot be read", .shard.0)]
    Damaged { view: Name, shard: Shard, source: codec::Error },
    #[error("{error}")]
    Store { view: Name, error: online::Error },
}

impl Unavailable {
    pub fn view(&self) -> &Name {
        match self {
            Unavailable::Rebuilding(view) | Unavailable::Damaged { view, .. } | Unavailable::Store { view, .. } => view,
        }
    }

    /// Notes one of each kind for each view: a node that is away takes many rows along.
    pub(super) fn note(self, noted: &mut Vec<Unavailable>) {
        let is_known = |it: &Unavailable| it.view() == self.view() && discriminant(it) == discriminant(&self);
        if !noted.iter().any(is_known) {
            noted.push(self);
        }
    }
}

/// All of it in a line. A store that is away says the same of each view.
pub(super) fn text(unavailable: &[Unavailable]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in unavailable.iter().map(Unavailable::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join("; ")
}
