//! Files that definitions and requests name: below the input roots, on disk or in an object store, and nowhere else.
//!
//! ```text
//! history/dt=*/*.parquet              below the first root that is a folder
//! /data/history/2025.csv              where a root is /data
//! s3://bucket/history/*.parquet       where a root is s3://bucket or s3://bucket/history
//! ```
//!
//! What the service itself keeps is no input, though a root may hold it: it is of every project, and asks for a scope
//! where a file asks for none. Of roots and closed places the innermost that a file lies in decides.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::offline::Error;
use crate::offline::folder::Bucket;

/// Whether a closed place holds such a file is nobody's business.
const NOT_THERE: &str = "there is no such file; what is in `data_dir` and `offline` is not read";

const BELOW_NONE: &str = "it is below no input root: add its folder to `input_roots`";

/// Where may be read. Clones share it.
#[derive(Clone, Debug)]
pub struct Inputs {
    roots: Arc<[String]>,
    closed: Arc<[String]>,
}

/// A file that may be read.
#[derive(Clone, Debug)]
pub struct InputFile {
    name: String,
    size: Option<u64>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Disk(PathBuf),
    Bucket(Bucket),
}

/// A file that is open, or was read whole.
pub(super) enum Opened {
    File(File),
    Bytes(Bytes),
}

impl Inputs {
    /// Folders, and URLs of object stores.
    pub fn new(roots: impl IntoIterator<Item = String>) -> Inputs {
        Inputs { roots: roots.into_iter().collect(), closed: Arc::default() }
    }

    /// The same without what lies in `places`, folders and URLs, and below no root that lies in them.
    pub fn without(self, places: impl IntoIterator<Item = String>) -> Inputs {
        Inputs { closed: places.into_iter().collect(), ..self }
    }

    /// The files that a path with `*` in its names is one of, in the order of their names; one at least.
    pub fn files(&self, pattern: &str) -> Result<Vec<InputFile>, Error> {
        let files = match pattern.split_once("://") {
            Some((scheme, place)) => self.in_bucket(pattern, scheme, place)?,
            None => self.on_disk(pattern)?,
        };
        match files.is_empty() {
            true => Err(refused(pattern, NOT_THERE)),
            false => Ok(files),
        }
    }

    fn on_disk(&self, pattern: &str) -> Result<Vec<InputFile>, Error> {
        let folders: Vec<&String> = self.roots.iter().filter(|root| !root.contains("://")).collect();
        let first = folders.first().ok_or_else(|| refused(pattern, "no input root is a folder"))?;
        let (start, names) = match pattern.strip_prefix('/') {
            Some(names) => (PathBuf::from("/"), names),
            None => (PathBuf::from(first), pattern),
        };
        let (roots, closed) = (canonical(&self.roots), canonical(&self.closed));
        let is_below = |path: &Path| folders.iter().any(|root| path.starts_with(root)) || depth(path, &roots) > 0;
        let names: Vec<&str> = names.split('/').filter(|name| !name.is_empty()).collect();
        // What lies elsewhere is not looked at: whether it is there is nobody's business.
        if names.contains(&"..") || (pattern.starts_with('/') && !is_below(Path::new(pattern))) {
            return Err(refused(pattern, BELOW_NONE));
        }
        let mut found = Vec::new();
        walk(start, &names, &mut |path| found.push(path)).map_err(|error| refused(pattern, &error.to_string()))?;
        found.into_iter().filter_map(|path| disk_file(path, &roots, &closed).transpose()).collect()
    }

    fn in_bucket(&self, pattern: &str, scheme: &str, place: &str) -> Result<Vec<InputFile>, Error> {
        if url_depth(pattern, &self.roots) == 0 {
            return Err(refused(pattern, "it is below no input root: add its bucket to `input_roots`"));
        }
        let (bucket_name, names) = place.split_once('/').unwrap_or((place, ""));
        let bucket = Bucket::open(scheme, bucket_name)?;
        let names: Vec<&str> = names.split('/').filter(|name| !name.is_empty()).collect();
        let mut found = Vec::new();
        walk_bucket(&bucket, String::new(), &names, &mut found)?;
        found.retain(|name| {
            let url = format!("{scheme}://{bucket_name}/{name}");
            url_depth(&url, &self.closed) < url_depth(&url, &self.roots)
        });
        let file = |name: String| InputFile { name, size: None, place: Place::Bucket(bucket.clone()) };
        Ok(found.into_iter().map(file).collect())
    }
}

impl InputFile {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is cheap to know.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// How long it is, wherever that has to be asked.
    pub fn length(&self) -> Result<u64, Error> {
        match &self.place {
            Place::Bucket(bucket) => bucket.size(&self.name),
            Place::Disk(path) => {
                fs::metadata(path).map(|found| found.len()).map_err(|error| refused(&self.name, &error.to_string()))
            }
        }
    }

    /// All of it.
    pub fn read(&self) -> Result<Bytes, Error> {
        match &self.place {
            Place::Disk(path) => {
                fs::read(path).map(Bytes::from).map_err(|error| refused(&self.name, &error.to_string()))
            }
            Place::Bucket(bucket) => bucket.read(&self.name),
        }
    }

    pub(super) fn open(&self) -> Result<Opened, Error> {
        match &self.place {
            Place::Disk(path) => {
                File::open(path).map(Opened::File).map_err(|error| refused(&self.name, &error.to_string()))
            }
            Place::Bucket(bucket) => Ok(Opened::Bytes(bucket.read(&self.name)?)),
        }
    }
}

/// Those of the folders among `places` that are there.
fn canonical(places: &[String]) -> Vec<PathBuf> {
    places.iter().filter_map(|place| fs::canonicalize(place).ok()).collect()
}

/// A link may lead out of the roots. `None`: it is closed.
fn disk_file(path: PathBuf, roots: &[PathBuf], closed: &[PathBuf]) -> Result<Option<InputFile>, Error> {
    let name = path.display().to_string();
    let cannot = |error: io::Error| refused(&name, &error.to_string());
    let real = fs::canonicalize(&path).map_err(cannot)?;
    let open = depth(&real, roots);
    if open == 0 {
        return Err(refused(&name, BELOW_NONE));
    }
    if depth(&real, closed) >= open {
        return Ok(None);
    }
    let size = Some(fs::metadata(&real).map_err(cannot)?.len());
    Ok(Some(InputFile { name, size, place: Place::Disk(real) }))
}

/// Of the innermost of `places` that a path lies in; 0: it lies in none.
fn depth(path: &Path, places: &[PathBuf]) -> usize {
    let around = places.iter().filter(|place| path.starts_with(place));
    around.map(|place| place.components().count()).max().unwrap_or(0)
}

/// The same for URLs.
fn url_depth(url: &str, places: &[String]) -> usize {
    let places = places.iter().map(|place| place.trim_end_matches('/'));
    let around = places.filter(|place| url.strip_prefix(place).is_some_and(|rest| rest.starts_with('/')));
    around.map(str::len).max().unwrap_or(0)
}

fn walk(at: PathBuf, names: &[&str], found: &mut dyn FnMut(PathBuf)) -> io::Result<()> {
    let Some((name, rest)) = names.split_first() else {
        if at.is_file() {
            found(at);
        }
        return Ok(());
    };
    if !name.contains('*') {
        return walk(at.join(name), rest, found);
    }
    let mut entries: Vec<String> = Vec::new();
    for entry in if at.is_dir() { Some(fs::read_dir(&at)?) } else { None }.into_iter().flatten() {
        entries.extend(entry?.file_name().into_string().ok());
    }
    entries.sort_unstable();
    entries.retain(|entry| matches(name, entry));
    entries.into_iter().try_for_each(|entry| walk(at.join(entry), rest, found))
}

fn walk_bucket(bucket: &Bucket, at: String, names: &[&str], found: &mut Vec<String>) -> Result<(), Error> {
    let Some((name, rest)) = names.split_first() else {
        found.push(at);
        return Ok(());
    };
    let mut entries = bucket.list(&at)?;
    entries.retain(|entry| matches(name, entry));
    let inside = |entry: String| if at.is_empty() { entry } else { format!("{at}/{entry}") };
    entries.into_iter().try_for_each(|entry| walk_bucket(bucket, inside(entry), rest, found))
}

/// Whether a name is what `pattern` says, in which `*` is any text. Hidden files are none.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().expect("a split has a part");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last) && !name.starts_with('.')
}

fn refused(path: &str, detail: &str) -> Error {
    Error::Input { path: path.to_owned(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(roots: &[&Path], pattern: &str) -> Result<Vec<String>, String> {
        let inputs = Inputs::new(roots.iter().map(|root| root.display().to_string()));
        let files = inputs.files(pattern).map_err(|error| error.to_string())?;
        let name = |file: &InputFile| Path::new(file.name()).file_name().map(|it| it.to_string_lossy().into_owned());
        Ok(files.iter().filter_map(name).collect())
    }

    #[test]
    fn stars_stand_for_any_part_of_a_name() {
        let cases = [("*.csv", "a.csv"), ("a*", "a"), ("*", "x"), ("a*b*c", "aXbbc"), ("ab", "ab")];
        assert!(cases.iter().all(|(pattern, name)| matches(pattern, name)));
        let cases = [("*.csv", "a.csv2"), ("a*a", "a"), ("*", ".hidden"), ("a*b*c", "acb"), ("ab", "abc")];
        assert!(!cases.iter().any(|(pattern, name)| matches(pattern, name)));
    }

    #[test]
    fn files_come_in_order_and_from_below_the_roots_alone() {
        let (root, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for path in ["history/dt=2/b.csv", "history/dt=1/c.csv", "history/dt=1/a.csv", "history/dt=1/x.txt"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, "").expect("written");
        }
        assert_eq!(found(&[root.path()], "history/dt=*/*.csv").expect("found"), ["a.csv", "c.csv", "b.csv"]);
        let whole = root.path().join("history/dt=1/a.csv").display().to_string();
        assert_eq!(found(&[root.path()], &whole).expect("found"), ["a.csv"]);
        assert!(found(&[outside.path()], &whole).expect_err("refused").ends_with("add its folder to `input_roots`"));
        let elsewhere = found(&[outside.path()], "/no/such/file.csv").expect_err("refused");
        assert!(elsewhere.contains("below no input root"), "what is elsewhere is not even looked for: {elsewhere}");
        assert!(found(&[root.path()], "../x.csv").expect_err("refused").contains("below no input root"));
        assert!(found(&[root.path()], "none/*.csv").expect_err("refused").contains("there is no such file"));
        std::os::unix::fs::symlink(&whole, outside.path().join("link.csv")).expect("linked");
        assert!(found(&[outside.path()], "link.csv").expect_err("refused").contains("below no input root"));
        let bucket = found(&[root.path()], "s3://bucket/a.csv").expect_err("refused");
        assert!(bucket.ends_with("add its bucket to `input_roots`"), "{bucket}");
    }

    #[test]
    fn what_the_service_keeps_is_no_input_unless_a_root_within_it_leads_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for path in ["data/offline/shop/events/a.csv", "data/history/b.csv", "c.csv", "offline/d.csv"] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, "").expect("written");
        }
        let found = |roots: &[&str], pattern: &str| {
            let place = |inside: &str| root.join(inside).display().to_string();
            let inputs = Inputs::new(roots.iter().map(|inside| place(inside)));
            let inputs = inputs.without(["data", "offline", "not/there"].map(place));
            inputs.files(pattern).map(|files| files.len()).map_err(|error| error.to_string())
        };
        assert_eq!(found(&[""], "c.csv"), Ok(1));
        let (closed, missing) = ("data/offline/*/events/*.csv", "data/offline/*/events/*.json");
        let refused = found(&[""], closed).expect_err("it is closed");
        assert_eq!(refused.replace(closed, missing), found(&[""], missing).expect_err("it is not there"));
        assert!(found(&[""], "data/history/b.csv").is_err() && found(&[""], "offline/d.csv").is_err());
        assert!(found(&["data"], "history/b.csv").is_err(), "a root that is closed itself opens nothing");
        assert_eq!(found(&["data/history"], "b.csv"), Ok(1));
        let link = root.join("link.csv");
        std::os::unix::fs::symlink(root.join("offline/d.csv"), link).expect("linked");
        assert!(found(&[""], "link.csv").is_err(), "a link leads nowhere else");
    }

    #[test]
    fn of_urls_the_innermost_place_decides_too() {
        let places = ["s3://shop/".to_owned(), "s3://shop/freshet".to_owned()];
        assert_eq!(url_depth("s3://shop/freshet/a.csv", &places), "s3://shop/freshet".len());
        assert_eq!(url_depth("s3://shop/freshet2/a.csv", &places), "s3://shop".len());
        assert_eq!(url_depth("s3://shop2/a.csv", &places), 0);
    }
}
