//! `freshet validate PATH…`: every mistake, with its place; needs no service.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::output::{self, Format};
use crate::kernel::definition::{self, SourceText};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet validate feature-defs/")]
pub(super) struct Arguments {
    /// Files, or folders whose *.yaml and *.yml files are read
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How to print the outcome
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = read(&arguments.paths)?;
    let outcome = definition::parse(&files);
    match (&outcome, arguments.output) {
        (Ok(definitions), Format::Table) => println!(
            "{} without a mistake: {}, {}, {}, {}",
            counted(files.len(), "file"),
            counted(definitions.entities.len(), "entity"),
            counted(definitions.sources.len(), "source"),
            counted(definitions.views.len(), "feature view"),
            counted(definitions.services.len(), "feature service"),
        ),
        (Err(mistakes), Format::Table) => {
            mistakes.iter().for_each(|mistake| println!("{mistake}"));
            println!("{}", counted(mistakes.len(), "mistake"));
        }
        (outcome, Format::Json) => {
            let mistakes = outcome.as_ref().err().into_iter().flatten().map(|mistake| {
                serde_json::json!({ "path": mistake.path, "line": mistake.line, "column": mistake.column,
                                    "what": mistake.what, "help": mistake.help })
            });
            println!("{}", output::json(&serde_json::json!({ "mistakes": mistakes.collect::<Vec<_>>() })));
        }
    }
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The definition files below `paths`, in the order of their names.
pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceText>> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        bail!(
            "no .yaml or .yml file below {}",
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(SourceText { path: path.display().to_string(), text })
    };
    files.into_iter().map(read).collect()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut inside: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    inside.sort();
    for path in inside {
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml || path.is_dir() {
            collect(&path, files)?;
        }
    }
    Ok(())
}

pub(super) fn counted(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {what}s"),
    }
}
