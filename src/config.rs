//! The settings of the service: flags over environment (`FRESHET_…`) over `freshet.yaml` over defaults, each with
//! where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::kernel::name::Name;
use crate::kernel::time::Micros;

/// The effective settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub project: Name,
    /// Partitions of a topic that an apply creates.
    pub partitions: u32,
    pub flush_interval: Micros,
    pub archive_interval: Micros,
    /// Of the stream worker, in bytes.
    pub worker_cache_bytes: usize,
    /// Of the embedded online store, in bytes.
    pub store_cache_bytes: u64,
    /// One looked-up row in so many is logged for parity; 0: none.
    pub parity_sample: u64,
    settings: Vec<Setting>,
}

/// One setting as `freshet config` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub name: &'static str,
    pub value: String,
    pub origin: Origin,
    pub help: &'static str,
}

/// Where a setting came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::File => "freshet.yaml",
            Origin::Default => "default",
        })
    }
}

/// Name, default, and what it is.
const SETTINGS: [(&str, &str, &str); 9] = [
    ("data_dir", "freshet-data", "where the embedded parts keep their data"),
    ("listen", "127.0.0.1:6566", "the address to serve on"),
    ("project", "default", "the name space of this process"),
    ("partitions", "4", "partitions of a topic that an apply creates"),
    ("flush_interval_ms", "20", "how long a folded event may wait before lookups see it"),
    ("archive_interval_ms", "2000", "how long an event may wait before it is archived"),
    ("worker_cache_mb", "256", "memory for rows that the stream worker keeps at hand"),
    ("store_cache_mb", "256", "memory for the embedded online store's cache"),
    ("parity_sample", "100", "one looked-up row in so many is logged for parity; 0: none"),
];

impl Config {
    /// `env` reads a variable of the environment; `file` is the text of `freshet.yaml`: a line for each setting.
    /// Every mistake at once.
    pub fn resolve(
        flags: &BTreeMap<String, String>,
        env: impl Fn(&str) -> Option<String>,
        file: Option<&str>,
    ) -> Result<Config, Vec<String>> {
        let mut mistakes = Vec::new();
        let file = parse_file(file.unwrap_or_default(), &mut mistakes);
        let known = |name: &String| SETTINGS.iter().any(|(known, _, _)| known == name);
        let unknown = flags.keys().chain(file.keys()).filter(|name| !known(name));
        mistakes.extend(unknown.map(|name| format!("`{name}` is not a setting: `freshet config` lists them")));

        let settings = SETTINGS.map(|(name, default, help)| {
            let variable = env(&format!("FRESHET_{}", name.to_uppercase()));
            let (value, origin) = if let Some(value) = flags.get(name) {
                (value.clone(), Origin::Flag)
            } else if let Some(value) = variable {
                (value, Origin::Environment)
            } else if let Some(value) = file.get(name) {
                (value.clone(), Origin::File)
            } else {
                (default.to_owned(), Origin::Default)
            };
            Setting { name, value, origin, help }
        });
        let config = Config::checked(settings.to_vec(), &mut mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }

    /// In the order of their documentation.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    fn checked(settings: Vec<Setting>, mistakes: &mut Vec<String>) -> Config {
        let mut numbers = |name: &str, least: u64, most: u64| number(find(&settings, name), least, most, mistakes);
        let partitions = numbers("partitions", 1, 1_024) as u32;
        let flush_interval = Micros::from_millis(numbers("flush_interval_ms", 1, 60_000) as i64);
        let archive_interval = Micros::from_millis(numbers("archive_interval_ms", 10, 3_600_000) as i64);
        let worker_cache_bytes = (numbers("worker_cache_mb", 1, 1 << 20) << 20) as usize;
        let store_cache_bytes = numbers("store_cache_mb", 1, 1 << 20) << 20;
        let parity_sample = numbers("parity_sample", 0, 1 << 40);
        let listen = find(&settings, "listen");
        let listen = listen.value.parse().map_err(|_| {
            mistakes.push(format!("{}: `{}` is not an address such as `127.0.0.1:6566`", place(listen), listen.value));
        });
        let project = find(&settings, "project");
        let project = project.value.parse().map_err(|error| mistakes.push(format!("{}: {error}", place(project))));
        Config {
            data_dir: find(&settings, "data_dir").value.clone().into(),
            listen: listen.unwrap_or_else(|()| SocketAddr::from(([127, 0, 0, 1], 0))),
            project: project.unwrap_or_else(|()| "default".parse().expect("it is a name")),
            partitions,
            flush_interval,
            archive_interval,
            worker_cache_bytes,
            store_cache_bytes,
            parity_sample,
            settings,
        }
    }
}

fn find<'a>(settings: &'a [Setting], name: &str) -> &'a Setting {
    settings.iter().find(|setting| setting.name == name).expect("every name asked for is in SETTINGS")
}

fn place(setting: &Setting) -> String {
    format!("setting `{}` (from {})", setting.name, setting.origin)
}

fn number(setting: &Setting, least: u64, most: u64, mistakes: &mut Vec<String>) -> u64 {
    match setting.value.parse() {
        Ok(number) if (least..=most).contains(&number) => number,
        _ => {
            mistakes.push(format!(
                "{}: `{}` is not a whole number from {least} to {most}",
                place(setting),
                setting.value
            ));
            least
        }
    }
}

/// `name: value` a line, with `#` comments: all that the settings need of YAML.
fn parse_file(text: &str, mistakes: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((name, value)) => {
                found.insert(name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned());
            }
            None => mistakes.push(format!("freshet.yaml:{}: `{line}` is not `name: value`", index + 1)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: &[(&str, &str)], env: &[(&str, &str)], file: &str) -> Result<Config, Vec<String>> {
        let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let env = |wanted: &str| env.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        Config::resolve(&flags, env, Some(file))
    }

    #[test]
    fn a_flag_counts_before_the_environment_and_that_before_the_file() {
        let file = "partitions: 2 # few\nlisten: \"127.0.0.1:1\"\nproject: shop\n";
        let config =
            resolve(&[("partitions", "8")], &[("FRESHET_PARTITIONS", "4"), ("FRESHET_LISTEN", "127.0.0.1:2")], file);
        let config = config.expect("all right");
        assert_eq!((config.partitions, config.listen.port(), config.project.as_str()), (8, 2, "shop"));
        let origin = |name| find(config.settings(), name).origin;
        assert_eq!(origin("partitions"), Origin::Flag);
        assert_eq!(origin("listen"), Origin::Environment);
        assert_eq!(origin("project"), Origin::File);
        assert_eq!(origin("data_dir"), Origin::Default);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mistakes = resolve(&[("partitons", "8")], &[("FRESHET_LISTEN", "here")], "project: My Shop\nnothing\n");
        expect_test::expect![[r#"
            freshet.yaml:2: `nothing` is not `name: value`
            `partitons` is not a setting: `freshet config` lists them
            setting `listen` (from environment): `here` is not an address such as `127.0.0.1:6566`
            setting `project` (from freshet.yaml): `My Shop` is not a name: `a` to `z` first, then `a` to `z`, `0` to `9` and `_`"#]]
        .assert_eq(&mistakes.expect_err("mistakes").join("\n"));
    }
}
