//! Checked identifiers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `[a-z][a-z0-9_]*`, at most 63 characters: what entities, sources, fields, views, features and services are
/// called. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    pub const LONGEST: usize = 63;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        let fits = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !starts || !fits {
            return Err(format!("`{text}` is not a name: `a` to `z` first, then `a` to `z`, `0` to `9` and `_`"));
        }
        if text.len() > Name::LONGEST {
            return Err(format!("`{text}` is longer than {} characters", Name::LONGEST));
        }
        Ok(Name(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

/// One feature, as requests and training sets call it: `view:feature`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureRef {
    pub view: Name,
    pub feature: Name,
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.view, self.feature)
    }
}
