//! A strict JSON scanner that lends slices of the record.
//!
//! It exists because numbers must be read from their digits: decimals and fractions of seconds are exact, an int64
//! is told from `1.0`, and a rejection shows what stood there. serde_json hands numbers out as integers or doubles
//! only. What it accepts is what serde_json accepts; a test holds the two together over mutated texts.

use std::borrow::Cow;

/// As deep as serde_json goes.
const DEEPEST: usize = 127;

/// A value, each but the plain ones as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Text<'a>),
    /// With its brackets, and valid within.
    Array(&'a str),
    Object(&'a str),
}

/// What stands between two quotes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

/// Where the text stops being JSON, in bytes from its start, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) byte: usize,
    pub(super) what: &'static str,
}

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// Calls `field` for each name and value of the one object that the text must be.
    pub(super) fn object<E: From<Broken>>(
        &mut self,
        mut field: impl FnMut(Text<'a>, Json<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "expected an object")?;
        if !self.take(b'}') {
            loop {
                let name = self.name()?;
                let value = self.value(DEEPEST - 1)?;
                field(name, value)?;
                if self.take(b'}') {
                    break;
                }
                self.expect(b',', "expected `,` or `}`")?;
            }
        }
        Ok(self.end()?)
    }

    /// Calls `item` for each value of the array that the text must be.
    pub(super) fn array<E: From<Broken>>(&mut self, mut item: impl FnMut(Json<'a>) -> Result<(), E>) -> Result<(), E> {
        self.expect(b'[', "expected an array")?;
        if !self.take(b']') {
            loop {
                item(self.value(DEEPEST - 1)?)?;
                if self.take(b']') {
                    break;
                }
                self.expect(b',', "expected `,` or `]`")?;
            }
        }
        Ok(self.end()?)
    }

    fn value(&mut self, deeper: usize) -> Result<Json<'a>, Broken> {
        self.skip_space();
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'{') => {
                self.skip_object(deeper)?;
                Ok(Json::Object(&self.text[start..self.at]))
            }
            Some(b'[') => {
                self.skip_array(deeper)?;
                Ok(Json::Array(&self.text[start..self.at]))
            }
            _ => self.broken("expected a value"),
        }
    }

    fn skip_object(&mut self, deeper: usize) -> Result<(), Broken> {
        let Some(deeper) = deeper.checked_sub(1) else { return self.broken("nested too deeply") };
        self.at += 1;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.name()?;
            self.value(deeper)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "expected `,` or `}`")?;
        }
    }

    fn skip_array(&mut self, deeper: usize) -> Result<(), Broken> {
        let Some(deeper) = deeper.checked_sub(1) else { return self.broken("nested too deeply") };
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value(deeper)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "expected `,` or `]`")?;
        }
    }

    fn name(&mut self) -> Result<Text<'a>, Broken> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return self.broken("expected a field name in double quotes");
        }
        let name = self.string()?;
        self.expect(b':', "expected `:`")?;
        Ok(name)
    }

    fn string(&mut self) -> Result<Text<'a>, Broken> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            // A run of plain bytes at a time: strings are most of a record.
            self.at += rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count();
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.broken("a control character must be escaped"),
                None => return self.broken("the string does not end"),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    fn escape(&mut self) -> Result<(), Broken> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
            [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => self.at += 6,
            _ => return self.broken("not an escape"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<&'a str, Broken> {
        let start = self.at;
        self.take_here(b'-');
        if !self.take_here(b'0') {
            self.digits()?;
        }
        if self.take_here(b'.') {
            self.digits()?;
        }
        if self.take_here(b'e') || self.take_here(b'E') {
            let _signed = self.take_here(b'-') || self.take_here(b'+');
            self.digits()?;
        }
        match self.peek() {
            Some(b'0'..=b'9') => self.broken("a number starts with one zero at most"),
            _ => Ok(&self.text[start..self.at]),
        }
    }

    fn digits(&mut self) -> Result<(), Broken> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.broken("expected a digit") } else { Ok(()) }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, Broken> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.broken("expected a value");
        }
        self.at += word.len();
        Ok(value)
    }

    fn end(&mut self) -> Result<(), Broken> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { self.broken("expected nothing more") }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Broken> {
        if self.take(byte) { Ok(()) } else { self.broken(what) }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        self.take_here(byte)
    }

    fn take_here(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn broken<T>(&self, what: &'static str) -> Result<T, Broken> {
        Err(Broken { byte: self.at, what })
    }
}

impl<'a> Text<'a> {
    /// As it was written, escapes and all.
    pub(super) fn raw(self) -> &'a str {
        self.raw
    }

    /// What it says; `None` where an escape is half of a surrogate pair, which is no character.
    pub(super) fn unescape(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        let mut said = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some((plain, escape)) = rest.split_once('\\') {
            said.push_str(plain);
            rest = match escape.as_bytes()[0] {
                b'u' => push_unicode(&mut said, escape)?,
                letter => {
                    said.push(short_escape(letter));
                    &escape[1..]
                }
            };
        }
        said.push_str(rest);
        Some(Cow::Owned(said))
    }
}

fn short_escape(letter: u8) -> char {
    match letter {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        quote => quote.into(),
    }
}

/// Reads `uXXXX`, or two of them that form a pair, and returns what follows.
fn push_unicode<'a>(said: &mut String, escape: &'a str) -> Option<&'a str> {
    let unit = |escape: &str| u16::from_str_radix(escape.get(1..5)?, 16).ok();
    let first = unit(escape)?;
    let rest = &escape[5..];
    if let Some(character) = char::from_u32(first.into()) {
        said.push(character);
        return Some(rest);
    }
    let second = rest.strip_prefix('\\').filter(|rest| rest.starts_with('u'))?;
    let pair = [first, unit(second)?];
    said.push(char::decode_utf16(pair).next()?.ok()?);
    Some(&second[5..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<(String, String)>, Broken> {
        let mut seen = Vec::new();
        Scanner::new(text).object(|name, value| {
            seen.push((name.unescape().expect("a name").into_owned(), format!("{value:?}")));
            Ok::<(), Broken>(())
        })?;
        Ok(seen)
    }

    #[test]
    fn what_is_accepted_is_what_serde_json_accepts() {
        const SEED: &str = r#" {"a":1,"b":-0.5e+3,"c":"x\u00e9\n\"","d":[true,false,null,{"e":[[]]}],"f":{},"g":""}	"#;
        const BYTES: &[u8] = b"{}[]\",:0123456789.eE+-\\/utrfnals \n\t\x01\x7fx";
        let mut random = fastrand::Rng::with_seed(7);
        let mut accepted = 0;
        for case in 0..60_000 {
            let mut text = SEED.as_bytes().to_vec();
            for _ in 0..random.usize(0..3) {
                let at = random.usize(0..text.len());
                match random.u8(0..3) {
                    0 => text[at] = *random.choice(BYTES).expect("not empty"),
                    1 => text.insert(at, *random.choice(BYTES).expect("not empty")),
                    _ => drop(text.remove(at)),
                }
            }
            let text = String::from_utf8(text).expect("all ASCII");
            let theirs = serde_json::from_str::<std::collections::HashMap<String, serde::de::IgnoredAny>>(&text);
            assert_eq!(fields(&text).is_ok(), theirs.is_ok(), "case {case}: {text}: {theirs:?}");
            accepted += usize::from(theirs.is_ok());
        }
        assert!((20_000..55_000).contains(&accepted), "the cases show little: {accepted} accepted");
    }

    #[test]
    fn strings_say_what_their_escapes_mean() {
        for text in [r#""""#, r#""a\"\\\/\b\f\n\r\t""#, r#""\u00e9\u20AC\ud83c\udf89!""#, r#""é🎉""#] {
            let wanted: String = serde_json::from_str(text).expect(text);
            let Json::Text(ours) = Scanner::new(text).value(1).expect(text) else { panic!("{text} is a string") };
            assert_eq!(ours.unescape().as_deref(), Some(wanted.as_str()));
        }
        for lone in [r#""\ud83c""#, r#""\ud83cx""#, r#""\ud83c\n""#, r#""\udf89\ud83c""#, r#""\ud83cé""#] {
            let Json::Text(ours) = Scanner::new(lone).value(1).expect(lone) else { panic!("{lone} is a string") };
            assert_eq!(ours.unescape(), None, "{lone}");
        }
    }

    #[test]
    fn nesting_ends_where_serde_json_ends_it() {
        for depth in [1, 120, 125, 126, 127, 128, 10_000] {
            let text = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            // IgnoredAny does not recurse in serde_json, and so is not bounded; a value is.
            let value = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            assert!(theirs);
            assert_eq!(fields(&text).is_ok(), value, "depth {depth}");
        }
    }
}
