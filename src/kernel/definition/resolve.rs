//! All documents of all files → elements that know each other. Entities and sources come first, then the views
//! that stand on them, then services: the order in the files does not matter.
//!
//! A reference to an element that has mistakes of its own is not a mistake, nor is one to an element that may
//! stand in a part that could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kernel::definition::fields::{Entry, Fields};
use crate::kernel::definition::findings::{Findings, Place};
use crate::kernel::definition::yaml::{Kind, Node};
use crate::kernel::definition::{Definitions, entity, feature_view, service, source, suggest};
use crate::kernel::name::Name;

/// What definitions write, and what messages call one; first those that this release has.
const KINDS: [(&str, &str, DocumentKind); 6] = [
    ("entity", "an entity", DocumentKind::Entity),
    ("source", "a source", DocumentKind::Source),
    ("feature_view", "a feature view", DocumentKind::FeatureView),
    ("feature_service", "a feature service", DocumentKind::FeatureService),
    ("table", "a table", DocumentKind::Table),
    ("derived_view", "a derived view", DocumentKind::DerivedView),
];

/// How many of [`KINDS`] this release has.
const OFFERED: usize = 4;

/// Ordered as they are read: each stands on those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DocumentKind {
    Entity,
    Source,
    Table,
    FeatureView,
    DerivedView,
    FeatureService,
}

/// The elements of one kind, by name and in the order of the files.
pub(super) struct Known<T> {
    noun: &'static str,
    declared: BTreeMap<Name, (Place, Option<Arc<T>>)>,
    good: Vec<Arc<T>>,
    unclear: Arc<Unclear>,
}

/// What may have been declared, for all we could read.
#[derive(Default)]
struct Unclear {
    names: BTreeSet<Name>,
    anything: bool,
}

impl<T> Known<T> {
    fn new(noun: &'static str, unclear: &Arc<Unclear>) -> Known<T> {
        Known { noun, declared: BTreeMap::new(), good: Vec::new(), unclear: unclear.clone() }
    }

    /// The element called `name`, as the scalar at `place` says.
    pub fn find(&self, name: &str, place: Place, found: &mut Findings) -> Option<Arc<T>> {
        match self.declared.get(name) {
            Some((_, element)) => element.clone(),
            None if self.unclear.anything || self.unclear.names.contains(name) => None,
            None => {
                let help = suggest::instead_of(name, self.declared.keys().map(Name::as_str));
                found.mistake(place, format!("unknown {} `{name}`", self.noun), help);
                None
            }
        }
    }

    /// `element` is none where it has mistakes.
    fn declare(&mut self, name: Name, place: Place, element: Option<T>, found: &mut Findings) {
        if let Some((first, _)) = self.declared.get(&name) {
            let help = format!("the first is at {}: rename or remove one of them", found.describe(*first));
            found.mistake(place, format!("the {} `{name}` is declared twice", self.noun), help);
            return;
        }
        let element = element.map(Arc::new);
        self.good.extend(element.clone());
        self.declared.insert(name, (place, element));
    }
}

/// One document, as far as every kind has the same.
struct Document<'n> {
    kind: Option<DocumentKind>,
    /// With the place where it stands.
    name: Option<(Name, Place)>,
    fields: Fields<'n>,
}

/// `trees` are the documents of all files, and `complete` says whether no part of a file was left unread.
pub(super) fn resolve(trees: &[Node], complete: bool, found: &mut Findings) -> Definitions {
    let mut documents: Vec<Document> = trees.iter().filter_map(|tree| open(tree, found)).collect();
    // Stable: within a kind the order of the files stays.
    documents.sort_by_key(|document| document.kind);
    let unclear = Arc::new(unclear(&documents, complete));
    let mut entities = Known::new("entity", &unclear);
    let mut sources = Known::new("source", &unclear);
    let mut views = Known::new("feature view", &unclear);
    let mut services = Known::new("feature service", &unclear);
    for document in documents {
        match document.kind {
            Some(DocumentKind::Entity) => document.read(&mut entities, found, entity::read),
            Some(DocumentKind::Source) => document.read(&mut sources, found, source::read),
            Some(DocumentKind::FeatureView) => document.read(&mut views, found, |fields, name, found| {
                feature_view::read(fields, name, &entities, &sources, found)
            }),
            Some(DocumentKind::FeatureService) => {
                document.read(&mut services, found, |fields, name, found| service::read(fields, name, &views, found));
            }
            // Declared all the same, so that what refers to it is not one more mistake.
            Some(DocumentKind::DerivedView) => document.refuse("derived_view", Some(&mut views), found),
            Some(DocumentKind::Table) => document.refuse::<()>("table", None, found),
            None => document.fields.finish_unread(found),
        }
    }
    Definitions { entities: entities.good, sources: sources.good, views: views.good, services: services.good }
}

/// The kind and name of a document; `None` where it is empty or no mapping.
fn open<'n>(tree: &'n Node, found: &mut Findings) -> Option<Document<'n>> {
    if matches!(&tree.kind, Kind::Scalar(scalar) if scalar.is_null()) {
        return None;
    }
    let entry = Entry { subject: "a document".into(), place: tree.place, node: tree };
    let mut fields = Fields::of(&entry, "a document", "`kind: entity`, `name: user` and so on", found)?;
    let kind = fields.required("kind", "feature_view").and_then(|entry| kind(&entry, found));
    let name = fields.required("name", "user_activity");
    let name = name.and_then(|entry| Some((entry.name(found)?, entry.node.place)));
    if let Some((_, called, _)) = KINDS.iter().find(|(_, _, candidate)| Some(*candidate) == kind) {
        fields.rename(called);
    }
    Some(Document { kind, name, fields })
}

fn kind(entry: &Entry, found: &mut Findings) -> Option<DocumentKind> {
    let text = entry.text("a kind such as `feature_view`", found)?;
    let kind = KINDS.iter().find(|(word, ..)| *word == text);
    if kind.is_none() {
        let help = suggest::instead_of(text, KINDS[..OFFERED].iter().map(|(word, ..)| *word));
        found.mistake(entry.node.place, format!("unknown kind `{text}`"), help);
    }
    kind.map(|(.., kind)| *kind)
}

fn unclear(documents: &[Document], complete: bool) -> Unclear {
    let without_kind = documents.iter().filter(|document| document.kind.is_none());
    let names = without_kind.filter_map(|document| document.name.as_ref()).map(|(name, _)| name.clone()).collect();
    let anything = !complete || documents.iter().any(|document| document.name.is_none());
    Unclear { names, anything }
}

impl Document<'_> {
    fn read<T>(
        mut self,
        known: &mut Known<T>,
        found: &mut Findings,
        read: impl FnOnce(&mut Fields, Name, &mut Findings) -> Option<T>,
    ) {
        let mistakes_before = found.count();
        // An element without a good name is read for its mistakes and then left out: nobody sees this name.
        let unnamed = || "unnamed".parse().expect("it is a name");
        let name = self.name.as_ref().map_or_else(unnamed, |(name, _)| name.clone());
        let element = read(&mut self.fields, name, found);
        self.fields.finish(found);
        let good = found.count() == mistakes_before;
        if let Some((name, place)) = self.name {
            known.declare(name, place, element.filter(|_| good), found);
        }
    }

    fn refuse<T>(self, kind: &str, known: Option<&mut Known<T>>, found: &mut Findings) {
        let what = format!("the kind `{kind}` is not in this release");
        found.mistake(self.fields.place, what, "remove the document, and what refers to it");
        self.fields.finish_unread(found);
        if let (Some((name, place)), Some(known)) = (self.name, known) {
            known.declare(name, place, None, found);
        }
    }
}
