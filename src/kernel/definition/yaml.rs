//! YAML text → a tree in which everything knows its place. It is bounded (length, depth), and what definitions
//! have no use for is a mistake here: anchors, aliases, tags, keys that are not plain text, keys given twice.
//!
//! A syntax error ends its file; the documents before it are still read. It does not decide what a scalar is:
//! whoever reads it knows whether a number, a name or an expression belongs there.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::kernel::definition::findings::{Findings, Place};

/// The longest file, in bytes.
pub(super) const LONGEST: usize = 1 << 20;

/// The deepest nesting.
pub(super) const DEEPEST: usize = 64;

#[derive(Debug)]
pub(super) struct Node {
    pub place: Place,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Pair>),
    /// A mistake was recorded here: nothing more is to be said about it.
    Mistaken,
}

#[derive(Debug)]
pub(super) struct Pair {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

#[derive(Debug)]
pub(super) struct Scalar {
    pub text: String,
    written: Written,
}

/// How a scalar was written, as far as it says where its characters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    /// Over several lines, or with escapes: its characters are not where counting would put them.
    Otherwise,
}

impl Scalar {
    /// Nothing, `~` or `null`, without quotes.
    pub fn is_null(&self) -> bool {
        self.written == Written::Plain && matches!(self.text.as_str(), "" | "~" | "null")
    }

    pub fn is_plain(&self) -> bool {
        self.written == Written::Plain
    }
}

impl Node {
    /// Where the character at `offset` of this node's scalar stands; its start where that cannot be told.
    pub fn place_within(&self, offset: usize) -> Place {
        let Kind::Scalar(scalar) = &self.kind else { return self.place };
        let doubled = || scalar.text.chars().take(offset).filter(|c| *c == '\'').count();
        let columns = match scalar.written {
            Written::Plain => offset,
            Written::SingleQuoted => 1 + offset + doubled(),
            Written::DoubleQuoted => 1 + offset,
            Written::Otherwise => 0,
        };
        Place { column: self.place.column + columns, ..self.place }
    }
}

/// The documents of one file.
pub(super) struct Documents {
    pub documents: Vec<Node>,
    /// Whether the file was read to its end; else elements may be missing that it declares.
    pub complete: bool,
}

pub(super) fn read(file: usize, text: &str, found: &mut Findings) -> Documents {
    if text.len() > LONGEST {
        let place = Place { file, line: 1, column: 1 };
        found.mistake(
            place,
            format!("the file has {} bytes, more than {LONGEST}", text.len()),
            "spread the definitions over several files",
        );
        return Documents { documents: Vec::new(), complete: false };
    }
    let mut reader = Reader { file, parser: Parser::new_from_str(text), found };
    let mut documents = Vec::new();
    let complete = reader.documents(&mut documents).is_ok();
    Documents { documents, complete }
}

/// Why reading a file ended early; the mistake is recorded.
struct Stopped;

struct Reader<'r, 't, 'f> {
    file: usize,
    parser: Parser<'t, StrInput<'t>>,
    found: &'r mut Findings<'f>,
}

impl<'t> Reader<'_, 't, '_> {
    fn documents(&mut self, documents: &mut Vec<Node>) -> Result<(), Stopped> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (event, span) => documents.push(self.node(event, span, 1)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stopped> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let place = self.place(*error.marker());
                if error.info().contains("recursion limit") {
                    return Err(self.too_deep(place));
                }
                self.found.mistake(place, format!("this is not YAML: {}", error.info()), syntax_help(error.info()));
                Err(Stopped)
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stopped> {
        let place = self.place(span.start);
        if depth > DEEPEST {
            return Err(self.too_deep(place));
        }
        let kind = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_marks(place, anchor, tag.as_deref());
                let written = written(style, &text, span);
                Kind::Scalar(Scalar { text: text.into_owned(), written })
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_marks(place, anchor, tag.as_deref());
                Kind::List(self.items(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_marks(place, anchor, tag.as_deref());
                Kind::Map(self.pairs(depth)?)
            }
            _ => {
                self.found.mistake(place, "aliases such as `*name` are not allowed", WRITE_OUT);
                Kind::Mistaken
            }
        };
        Ok(Node { place, kind })
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Stopped> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn pairs(&mut self, depth: usize) -> Result<Vec<Pair>, Stopped> {
        let mut pairs = Vec::new();
        let mut lines = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(pairs);
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if let Some(key_text) = self.key(&key, &mut lines) {
                pairs.push(Pair { key: key_text, place: key.place, value });
            }
        }
    }

    /// The key's text, where it is text and new. `lines` holds the line of each key so far.
    fn key(&mut self, key: &Node, lines: &mut BTreeMap<String, usize>) -> Option<String> {
        let text = match &key.kind {
            Kind::Scalar(scalar) => scalar.text.clone(),
            Kind::Mistaken => return None,
            Kind::List(_) | Kind::Map(_) => {
                self.found.mistake(key.place, "a key must be text", "quote a value that begins with `{` or `[`");
                return None;
            }
        };
        if let Some(first) = lines.insert(text.clone(), key.place.line) {
            let help = format!("the first is on line {first}: keep one of them");
            self.found.mistake(key.place, format!("the key `{text}` is given twice"), help);
            return None;
        }
        Some(text)
    }

    fn refuse_marks(&mut self, place: Place, anchor: usize, tag: Option<&Tag>) {
        // The parser numbers anchors from 1; 0 is none.
        if anchor != 0 {
            self.found.mistake(place, "anchors such as `&name` are not allowed", WRITE_OUT);
        }
        if let Some(tag) = tag {
            let help = "leave it out: each key has its type already";
            self.found.mistake(place, format!("the tag `!{}` is not allowed", tag.suffix), help);
        }
    }

    fn too_deep(&mut self, place: Place) -> Stopped {
        self.found.mistake(place, format!("nested deeper than {DEEPEST} levels"), "definitions need no more than 6");
        Stopped
    }

    fn place(&self, marker: Marker) -> Place {
        Place { file: self.file, line: marker.line(), column: marker.col() + 1 }
    }
}

const WRITE_OUT: &str = "write the value out where it is needed";

fn written(style: ScalarStyle, text: &str, span: Span) -> Written {
    let one_line = span.start.line() == span.end.line();
    let quoted = text.chars().count() + 2;
    // A quoted scalar that is longer than its characters has escapes, or was folded from several lines.
    match style {
        ScalarStyle::Plain if one_line || !text.contains(char::is_whitespace) => Written::Plain,
        ScalarStyle::SingleQuoted if one_line && span.len() == quoted + text.matches('\'').count() => {
            Written::SingleQuoted
        }
        ScalarStyle::DoubleQuoted if one_line && span.len() == quoted => Written::DoubleQuoted,
        _ => Written::Otherwise,
    }
}

fn syntax_help(info: &str) -> &'static str {
    if info.contains("tab") {
        "indent with spaces"
    } else if info.contains("anchor") {
        WRITE_OUT
    } else {
        "look at indentation, brackets and quotes here and on the line before; quote text that holds `: ` or ` #`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::definition::SourceText;

    fn tree(text: &str) -> (Documents, Vec<String>) {
        let files = [SourceText { path: "f.yaml".into(), text: text.into() }];
        let mut found = Findings::new(&files);
        let documents = read(0, text, &mut found);
        (documents, found.into_diagnostics().iter().map(ToString::to_string).collect())
    }

    /// The column in which the character at `offset` of the value of `a` is said to stand.
    fn column(text: &str, offset: usize) -> usize {
        let (read, _) = tree(text);
        let Kind::Map(pairs) = &read.documents[0].kind else { panic!("{text} is a mapping") };
        pairs[0].value.place_within(offset).column
    }

    #[test]
    fn characters_of_plain_and_quoted_scalars_are_found() {
        assert_eq!(column("a: price + x", 8), 12);
        assert_eq!(column("a: \"price + x\"", 8), 13);
        assert_eq!(column("a: 'k = ''ü'' + x'", 10), 17);
        assert_eq!(column("a: price * 2 # twice\n", 8), 12);
        assert_eq!(column("a: price\n  + x", 8), 4, "folded: the start of the scalar");
        assert_eq!(column("a: \"x\\t + y\"", 3), 4, "escapes: the start of the scalar");
        assert_eq!(column("a: >\n  x + y\n", 4), 3, "a block: its first character");
    }

    #[test]
    fn a_syntax_error_leaves_the_documents_before_it() {
        let (read, mistakes) = tree("a: 1\n---\nb: 2\n---\nc: [1, 2\n");
        assert_eq!((read.documents.len(), read.complete, mistakes.len()), (2, false, 1));
    }

    #[test]
    fn depth_and_length_are_bounded() {
        for deep in ["[".repeat(100), "[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100)] {
            let (_, mistakes) = tree(&deep);
            assert!(mistakes[0].contains("nested deeper than 64 levels"), "{mistakes:?}");
        }
        let (_, mistakes) = tree(&"# a\n".repeat(300_000));
        assert!(mistakes[0].contains("more than 1048576"), "{mistakes:?}");
    }

    #[test]
    fn every_prefix_of_a_file_is_read_without_a_panic() {
        let text = "a: {b: [1, 'x', \"\\u00e9\"], c: &x !!int 3}\n? [d]\n: >-\n  e\n  f\n--- # g\n- *x\n- \t\n%TAG !\n";
        for (end, _) in text.char_indices() {
            tree(&text[..end]);
        }
    }
}
