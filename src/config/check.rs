//! The checking of settings: text into values, every mistake kept.

use std::fmt::Display;
use std::str::FromStr;

use crate::config::secret;
use crate::config::setting::{Origin, SETTINGS, Setting};

/// A setting before it is checked, secrets and all.
pub(super) struct Raw {
    pub name: &'static str,
    pub value: String,
    pub origin: Origin,
}

/// Settings under way to a [`Config`](super::Config).
pub(super) struct Check {
    pub raw: Vec<Raw>,
    pub mistakes: Vec<String>,
}

impl Check {
    pub fn text(&self, name: &str) -> &str {
        &self.raw(name).value
    }

    /// `None` where the setting is empty.
    pub fn given(&self, name: &str) -> Option<String> {
        Some(self.text(name).to_owned()).filter(|text| !text.is_empty())
    }

    pub fn number(&mut self, name: &str, least: u64, most: u64) -> u64 {
        let number = self.text(name).parse().ok().filter(|number| (least..=most).contains(number));
        number.unwrap_or_else(|| {
            self.wrong(name, format!("`{}` is not a whole number from {least} to {most}", self.text(name)));
            least
        })
    }

    pub fn flag(&mut self, name: &str) -> bool {
        let flag = self.text(name).parse();
        flag.unwrap_or_else(|_| {
            self.wrong(name, format!("`{}` is not `true` or `false`", self.text(name)));
            false
        })
    }

    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        self.text(name).parse().map_err(|error: T::Err| self.wrong(name, error)).ok()
    }

    /// A URL of one of `schemes`; `None` where the setting is empty.
    pub fn url(&mut self, name: &str, schemes: &[&str]) -> Option<String> {
        let url = self.given(name)?;
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|scheme| schemes.contains(&scheme)) {
            let starts: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect();
            self.wrong(name, format!("`{}` does not start with {}", secret::shown_url(&url), starts.join(" or ")));
        }
        Some(url)
    }

    /// `name=value;name=value`.
    pub fn options(&mut self, name: &str) -> Vec<(String, String)> {
        let mut options = Vec::new();
        let mut broken = Vec::new();
        let text = self.text(name).to_owned();
        for (place, pair) in text.split(';').enumerate().filter(|(_, pair)| !pair.trim().is_empty()) {
            match pair.split_once('=') {
                Some((name, value)) => options.push((name.trim().to_owned(), value.trim().to_owned())),
                None => broken.push(place + 1),
            }
        }
        for place in broken {
            self.wrong(name, format!("part {place} is not `name=value`; parts end at `;`"));
        }
        options
    }

    pub fn wrong(&mut self, name: &str, detail: impl Display) {
        self.mistakes.push(format!("setting `{name}` (from {}): {detail}", self.raw(name).origin));
    }

    /// As they may be shown.
    pub fn shown(&self) -> Vec<Setting> {
        let numbered = self.raw.iter().zip(SETTINGS);
        let shown = numbered.map(|(raw, (name, _, help))| Setting {
            name,
            value: shown_value(raw),
            origin: raw.origin.clone(),
            help,
        });
        shown.collect()
    }

    fn raw(&self, name: &str) -> &Raw {
        self.raw.iter().find(|raw| raw.name == name).expect("every name asked for is in SETTINGS")
    }
}

fn shown_value(raw: &Raw) -> String {
    match raw.name {
        "redis" | "registry" | "offline" => secret::shown_url(&raw.value),
        "kafka_options" => secret::shown_options(&raw.value),
        _ => raw.value.clone(),
    }
}
