//! Reads mappings key by key. A key that nobody asked for is a mistake, so what is asked for is the only list of
//! keys that there is. Every reader records what is wrong and answers `None`; an element is good where reading it
//! recorded nothing.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::kernel::definition::Description;
use crate::kernel::definition::findings::{Findings, Place};
use crate::kernel::definition::suggest;
use crate::kernel::definition::yaml::{Kind, Node, Pair, Scalar};
use crate::kernel::name::Name;
use crate::kernel::time::Micros;

/// A mapping that is being read.
pub(super) struct Fields<'n> {
    /// What it is, for messages: "a source".
    what: &'static str,
    pub place: Place,
    pairs: &'n [Pair],
    asked: Vec<&'static str>,
    /// Required keys that are not there, each with an example.
    missing: Vec<(&'static str, String)>,
}

impl<'n> Fields<'n> {
    /// `example` shows the mapping, or begins with a word of what it holds.
    pub fn of(entry: &Entry<'n>, what: &'static str, example: &str, found: &mut Findings) -> Option<Fields<'n>> {
        match &entry.node.kind {
            Kind::Map(pairs) => {
                Some(Fields { what, place: entry.node.place, pairs, asked: Vec::new(), missing: Vec::new() })
            }
            Kind::Mistaken => None,
            other => {
                let what = format!("{} must be a mapping, not {}", entry.subject, kind_of(other));
                found.mistake(entry.node.place, what, format!("write {example}"));
                None
            }
        }
    }

    /// What messages call it from now on.
    pub fn rename(&mut self, what: &'static str) {
        self.what = what;
    }

    pub fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|pair| pair.key == key)
    }

    pub fn optional(&mut self, key: &'static str) -> Option<Entry<'n>> {
        self.asked.push(key);
        let pair = self.pairs.iter().find(|pair| pair.key == key)?;
        Some(Entry { subject: format!("`{key}`"), place: pair.place, node: &pair.value })
    }

    /// `example` is what to write, without the key. [`Fields::finish`] says that it is missing.
    pub fn required(&mut self, key: &'static str, example: &str) -> Option<Entry<'n>> {
        let entry = self.optional(key);
        if entry.is_none() {
            self.missing.push((key, example.to_owned()));
        }
        entry
    }

    /// What is recognised and has no meaning yet.
    pub fn refuse(&mut self, key: &'static str, help: &str, found: &mut Findings) -> bool {
        let entry = self.optional(key);
        if let Some(entry) = &entry {
            found.mistake(entry.place, format!("`{key}` of {} is not in this release", self.what), help);
        }
        entry.is_some()
    }

    pub fn about(&mut self, found: &mut Findings) -> Description {
        let (description, owner) = (self.words("description", found), self.words("owner", found));
        let tags = self.optional("tags").and_then(|entry| tags(&entry, found)).unwrap_or_default();
        Description { description, owner, tags, deprecated: self.deprecated(found) }
    }

    /// Text for people.
    pub fn words(&mut self, key: &'static str, found: &mut Findings) -> Option<String> {
        self.optional(key).and_then(|entry| entry.text("text", found)).map(str::to_owned)
    }

    pub fn deprecated(&mut self, found: &mut Findings) -> Option<String> {
        let entry = self.optional("deprecated")?;
        let text = entry.text("words on what to use instead", found)?;
        if matches!(text, "true" | "false") {
            let help = "write what to use instead, and until when: `deprecated: use views_1h, gone in March`";
            found.mistake(entry.node.place, format!("`deprecated` is a message, not `{text}`"), help);
        }
        Some(text.to_owned())
    }

    /// Records the keys that nobody asked for, and those that are missing unless one of the former is meant.
    pub fn finish(mut self, found: &mut Findings) {
        let torn = self.pairs.iter().any(|pair| is_cut_off(&pair.value));
        let unasked = self.pairs.iter().filter(|pair| !self.asked.contains(&pair.key.as_str()));
        for pair in unasked.filter(|pair| !(torn && is_torn_off(pair))) {
            let what = format!("{} has no key `{}`", self.what, pair.key);
            found.mistake(pair.place, what, suggest::instead_of(&pair.key, self.asked.iter().copied()));
            let meant = suggest::closest(&pair.key, &self.asked);
            self.missing.retain(|(key, _)| Some(*key) != meant);
        }
        self.finish_unread(found);
    }

    /// Records what is missing, and nothing of the keys that nobody asked for: the rest was not read.
    pub fn finish_unread(self, found: &mut Findings) {
        for (key, example) in self.missing {
            let what = format!("{} needs `{key}`", self.what);
            found.mistake(self.place, what, format!("add `{key}: {example}`"));
        }
    }

    /// From here on `key` is no surprise.
    pub fn tolerate(&mut self, key: &'static str) {
        self.asked.push(key);
    }
}

/// `{ type: decimal(12,2) }` reads as two keys, `type` and `2)`: the value of the first is cut off at the comma.
pub(super) fn is_cut_off(node: &Node) -> bool {
    let cut = |scalar: &Scalar| scalar.is_plain() && scalar.text.contains('(') && !scalar.text.contains(')');
    matches!(&node.kind, Kind::Scalar(scalar) if cut(scalar))
}

/// The rest of what was cut off: a message about it would be the second for one mistake.
fn is_torn_off(pair: &Pair) -> bool {
    pair.key.ends_with(')') && matches!(&pair.value.kind, Kind::Scalar(scalar) if scalar.is_null())
}

fn tags(entry: &Entry, found: &mut Findings) -> Option<BTreeMap<String, String>> {
    let pairs = entry.pairs("`tags: { domain: shop }`", found)?;
    let text = |pair: &Pair| Entry::of_pair(pair).text("text", found).map(|text| (pair.key.clone(), text.to_owned()));
    Some(pairs.iter().filter_map(text).collect())
}

/// One value, and what to call it in messages.
pub(super) struct Entry<'n> {
    pub subject: String,
    /// Of its key, where it has one.
    pub place: Place,
    pub node: &'n Node,
}

impl<'n> Entry<'n> {
    pub fn of_pair(pair: &'n Pair) -> Entry<'n> {
        Entry { subject: format!("`{}`", pair.key), place: pair.place, node: &pair.value }
    }

    /// The items of a list, each called "an item of `key`".
    pub fn items(&self, example: &str, found: &mut Findings) -> Option<Vec<Entry<'n>>> {
        match &self.node.kind {
            Kind::List(items) if items.is_empty() => {
                found.mistake(self.node.place, format!("{} is empty", self.subject), format!("write {example}"));
                None
            }
            Kind::List(items) => {
                let subject = format!("an item of {}", self.subject);
                Some(items.iter().map(|node| Entry { subject: subject.clone(), place: node.place, node }).collect())
            }
            other => self.wrong_kind("a list", other, example, found),
        }
    }

    pub fn pairs(&self, example: &str, found: &mut Findings) -> Option<&'n [Pair]> {
        match &self.node.kind {
            Kind::Map(pairs) => Some(pairs),
            other => self.wrong_kind("a mapping", other, example, found),
        }
    }

    /// `expected` is what it should be: "a duration such as `1h`".
    pub fn scalar(&self, expected: &str, found: &mut Findings) -> Option<&'n Scalar> {
        match &self.node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => Some(scalar),
            Kind::Scalar(_) => {
                found.mistake(self.place, format!("{} has no value", self.subject), format!("give it {expected}"));
                None
            }
            other => self.wrong_kind(expected, other, "one value", found),
        }
    }

    pub fn text(&self, expected: &str, found: &mut Findings) -> Option<&'n str> {
        self.scalar(expected, found).map(|scalar| scalar.text.as_str())
    }

    /// What the text means, where it can be read without anything else; the reader's message is the mistake.
    pub fn parse<T: FromStr<Err = String>>(&self, expected: &str, found: &mut Findings) -> Option<T> {
        let text = self.text(expected, found)?;
        let parsed = text.parse();
        parsed.map_err(|what| found.mistake(self.node.place, what, format!("{} is {expected}", self.subject))).ok()
    }

    pub fn name(&self, found: &mut Findings) -> Option<Name> {
        let text = self.text("a name such as `user`", found)?;
        let parsed = text.parse::<Name>();
        parsed.map_err(|what| found.mistake(self.node.place, what, nearest_name(text))).ok()
    }

    pub fn duration(&self, found: &mut Findings) -> Option<Micros> {
        self.parse("a duration: a whole number with `s`, `m`, `h` or `d`", found)
    }

    pub fn flag(&self, found: &mut Findings) -> Option<bool> {
        match self.text("`true` or `false`", found)? {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                let what = format!("{} must be `true` or `false`, not `{other}`", self.subject);
                found.mistake_without_help(self.node.place, what);
                None
            }
        }
    }

    pub fn whole_number(&self, least: u32, most: u32, found: &mut Findings) -> Option<u32> {
        let text = self.text(&format!("a whole number from {least} to {most}"), found)?;
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let what = format!("{} must be a whole number from {least} to {most}, not `{text}`", self.subject);
            found.mistake_without_help(self.node.place, what);
        }
        number
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, all: &[T], word: fn(T) -> &'static str, found: &mut Findings) -> Option<T> {
        let words: Vec<&str> = all.iter().map(|it| word(*it)).collect();
        let text = self.text(&suggest::one_of(&words), found)?;
        let chosen = all.iter().copied().find(|it| word(*it) == text);
        if chosen.is_none() {
            let what = format!("{} cannot be `{text}`", self.subject);
            found.mistake(self.node.place, what, suggest::instead_of(text, words));
        }
        chosen
    }

    fn wrong_kind<T>(&self, expected: &str, kind: &Kind, example: &str, found: &mut Findings) -> Option<T> {
        if !matches!(kind, Kind::Mistaken) {
            let what = format!("{} must be {expected}, not {}", self.subject, kind_of(kind));
            found.mistake(self.node.place, what, format!("write {example}"));
        }
        None
    }
}

fn kind_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Scalar(scalar) if scalar.is_null() => "empty",
        Kind::Scalar(_) => "one value",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a mapping",
        Kind::Mistaken => "mistaken",
    }
}

/// What remains of a text when all is removed that a name cannot have.
pub(super) fn nearest_name(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase();
    let kept: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let kept = kept.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('_');
    match kept.parse::<Name>() {
        Ok(name) => format!("`{name}` would do"),
        Err(_) => format!("choose a name of at most {} letters, digits and `_`", Name::LONGEST),
    }
}
