//! An object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage. The only file that knows the
//! client crate.
//!
//! A put is durable when it is answered, and conditional on there being no object. One whose answer was lost, or that
//! the client sent again, must not take its own object for another writer's: each object carries a mark of who made it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::io::AsyncWrite;

use crate::kernel::name::Name;
use crate::offline::Error;
use crate::offline::folder::Created;

use runtime::OwnRuntime;

mod runtime;

/// A put that met a put on its way, which then came to nothing, is sent again.
const PUTS: usize = 5;

/// Requests for small objects that are on their way at once.
const GETS: usize = 32;

/// The attribute of who made an object.
const MARK: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("writer"));

pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    /// Of the project's part: `s3://bucket/prefix/project`.
    url: String,
    prefix: Path,
    runtime: OwnRuntime,
    #[cfg(test)]
    pub(super) faults: super::faults::Faults,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Remote {
    /// `place` is what follows `scheme://`. Asks nothing of the store yet.
    pub fn connect(scheme: &str, place: &str, project: &Name, settings: &[(String, String)]) -> Result<Remote, Error> {
        let url = format!("{scheme}://{}", place.trim_end_matches('/'));
        let store = client(scheme, &url, settings)?;
        let (_bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let refused = |error: object_store::path::Error| Error::Url { url: url.clone(), detail: error.to_string() };
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(refused)?.join(project.as_str());
        Remote::new(store, format!("{url}/{project}"), prefix)
    }

    /// All that a bucket holds, whoever wrote it.
    pub fn bucket(scheme: &str, bucket: &str) -> Result<Remote, Error> {
        let url = format!("{scheme}://{bucket}");
        Remote::new(client(scheme, &url, &[])?, url, Path::default())
    }

    fn new(store: Arc<dyn ObjectStore>, url: String, prefix: Path) -> Result<Remote, Error> {
        Ok(Remote {
            store,
            url,
            prefix,
            runtime: OwnRuntime::start()?,
            #[cfg(test)]
            faults: super::faults::Faults::default(),
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// `mark` is nobody else's.
    pub fn create(&self, path: &str, bytes: &[u8], mark: String) -> Result<Created, Error> {
        let bytes = Bytes::copy_from_slice(bytes);
        for _ in 0..PUTS {
            if self.put_new(path, bytes.clone(), mark.clone())? {
                return Ok(Created::Done);
            }
            match self.mark_of(path)? {
                Some(found) if found == mark => return Ok(Created::Done),
                Some(_) => return Ok(Created::AlreadyExists),
                None => {}
            }
        }
        let fault = io::Error::other("puts of others are on their way, and nothing comes of them");
        Err(self.failed("create", path, "try again", true, fault.into()))
    }

    pub fn get(&self, path: &str) -> Result<Option<Bytes>, Error> {
        self.call("read", path, read(self.store.clone(), self.location(path)))
    }

    /// Each of several, [`GETS`] at a time.
    pub fn get_all(&self, paths: &[String]) -> Result<Vec<Option<Bytes>>, Error> {
        let Some(first) = paths.first() else { return Ok(Vec::new()) };
        let requests: Vec<_> = paths.iter().map(|path| read(self.store.clone(), self.location(path))).collect();
        self.call("read", first, stream::iter(requests).buffered(GETS).try_collect())
    }

    pub fn size(&self, path: &str) -> Result<Option<u64>, Error> {
        let (store, location) = (self.store.clone(), self.location(path));
        self.call("read", path, async move {
            match store.head(&location).await {
                Ok(found) => Ok(Some(found.size)),
                Err(error) => absent_is_none(error),
            }
        })
    }

    pub fn part(&self, path: &str, part: Range<u64>) -> Result<Bytes, Error> {
        let (store, location) = (self.store.clone(), self.location(path));
        self.call("read", path, async move { store.get_range(&location, part).await })
    }

    pub fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let (store, location) = (self.store.clone(), self.location(path));
        let found = self.call("list", path, async move { store.list_with_delimiter(Some(&location)).await })?;
        let objects = found.objects.iter().map(|object| &object.location);
        let names = found.common_prefixes.iter().chain(objects).filter_map(|location| location.filename());
        Ok(names.map(str::to_owned).collect())
    }

    /// Names of objects inside the folder that sort after `after`.
    pub fn list_after(&self, path: &str, after: &str) -> Result<Vec<String>, Error> {
        let (store, location) = (self.store.clone(), self.location(path));
        let after = location.clone().join(after);
        let name = |object: ObjectMeta| object.location.filename().map(str::to_owned);
        self.call("list", path, async move {
            let found = store.list_with_offset(Some(&location), &after);
            let found: Vec<ObjectMeta> = found.try_collect().await?;
            Ok(found.into_iter().filter_map(name).collect())
        })
    }

    pub fn delete(&self, path: &str) -> Result<(), Error> {
        let (store, location) = (self.store.clone(), self.location(path));
        let deleted = async move { store.delete(&location).await.map(Some).or_else(absent_is_none) };
        self.call("remove", path, deleted).map(drop)
    }

    /// Whether there was no object, and now is this one.
    fn put_new(&self, path: &str, bytes: Bytes, mark: String) -> Result<bool, Error> {
        let (store, location) = (self.store.clone(), self.location(path));
        let attributes = Attributes::from_iter([(MARK, mark)]);
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        self.call("create", path, async move {
            match store.put_opts(&location, bytes.into(), options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Who made the object; `None`: there is none.
    fn mark_of(&self, path: &str) -> Result<Option<String>, Error> {
        let (store, location) = (self.store.clone(), self.location(path));
        self.call("read", path, async move {
            match store.get_opts(&location, GetOptions::new().with_head(true)).await {
                Ok(found) => Ok(Some(found.attributes.get(&MARK).map(|mark| mark.to_string()).unwrap_or_default())),
                Err(error) => absent_is_none(error),
            }
        })
    }

    fn location(&self, path: &str) -> Path {
        path.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), |at, part| at.join(part))
    }

    /// Runs a request on the store's own thread and waits for it. Every request goes through here: a test stops the
    /// process between any two of them.
    fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        path: &str,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, Error> {
        #[cfg(test)]
        self.faults.step().map_err(|killed| self.failed(doing, path, "by the test", true, killed.into()))?;
        self.runtime.wait(request).map_err(|error| {
            let (mend, transient) = mend(&error);
            self.failed(doing, path, mend, transient, error.into())
        })
    }

    fn failed(
        &self,
        doing: &'static str,
        path: &str,
        mend: &'static str,
        transient: bool,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Error {
        Error::Remote { doing, url: self.url(path), mend, transient, source }
    }
}

/// `None`: there is no such object.
async fn read(store: Arc<dyn ObjectStore>, location: Path) -> object_store::Result<Option<Bytes>> {
    match store.get(&location).await {
        Ok(found) => Ok(Some(found.bytes().await?)),
        Err(error) => absent_is_none(error),
    }
}

/// An object on its way, in parts if it is large. Dropping it leaves what was at its path.
pub(super) struct Upload {
    remote: Arc<Remote>,
    path: String,
    /// `None` while a request has it, and after one that failed.
    writer: Option<BufWriter>,
}

impl Upload {
    pub fn new(remote: Arc<Remote>, path: &str) -> Upload {
        let writer = BufWriter::new(remote.store.clone(), remote.location(path));
        Upload { remote, path: path.to_owned(), writer: Some(writer) }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut writer) = self.writer.take() else { return Err(io::Error::other("the upload failed before")) };
        let count = bytes.len();
        let bytes = Bytes::copy_from_slice(bytes);
        let written = self.remote.call("write", &self.path, async move {
            match writer.put(bytes).await {
                Ok(()) => Ok(writer),
                Err(error) => {
                    abort(writer).await;
                    Err(error)
                }
            }
        });
        self.writer = Some(written.map_err(io::Error::other)?);
        Ok(count)
    }

    pub fn publish(mut self) -> Result<(), Error> {
        let mut writer = self.writer.take().expect("a write that failed was told, and ends an upload");
        self.remote.call("write", &self.path, async move {
            let finished = poll_fn(|context| Pin::new(&mut writer).poll_shutdown(context)).await;
            finished.map_err(|error| match error.downcast::<object_store::Error>() {
                Ok(error) => error,
                Err(error) => object_store::Error::Generic { store: "upload", source: error.into() },
            })
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.remote.runtime.get().spawn(abort(writer));
        }
    }
}

/// Parts that stay are in no listing, and a store's own rule removes them after some days.
async fn abort(mut writer: BufWriter) {
    let _ = writer.abort().await;
}

fn absent_is_none<T>(error: object_store::Error) -> object_store::Result<Option<T>> {
    match error {
        object_store::Error::NotFound { .. } => Ok(None),
        error => Err(error),
    }
}

/// What to do about an error, and whether the same call may succeed later.
fn mend(error: &object_store::Error) -> (&'static str, bool) {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => ("there is no such bucket: create it, or name another one", false),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            ("the credentials in the environment do not allow it: mend them, or the bucket's policy", false)
        }
        E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::UnknownConfigurationKey { .. }
        | E::InvalidPath { .. } => ("the store cannot do that: use another one, or mend its settings", false),
        _ => ("the store is away or refuses: is its address right, and is it running", true),
    }
}

/// A builder from the environment, the URL and the settings: the crate's builders share no trait.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
macro_rules! built {
    ($builder:ty, $url:expr, $settings:expr) => {{
        let builder = <$builder>::from_env().with_url($url).with_retry(retries());
        let with = |builder: $builder, (name, value): &(String, String)| match name.parse() {
            Ok(name) => builder.with_config(name, value),
            Err(_) => builder,
        };
        let built = $settings.iter().fold(builder, with).build();
        Ok(Arc::new(built.map_err(|error| Error::Url { url: $url.to_owned(), detail: error.to_string() })?))
    }};
}

fn client(scheme: &str, url: &str, settings: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, Error> {
    match scheme {
        #[cfg(feature = "s3")]
        "s3" => built!(object_store::aws::AmazonS3Builder, url, settings),
        #[cfg(feature = "gcs")]
        "gs" => built!(object_store::gcp::GoogleCloudStorageBuilder, url, settings),
        #[cfg(feature = "azure")]
        "az" => built!(object_store::azure::MicrosoftAzureBuilder, url, settings),
        _ => Err(Error::Url { url: url.to_owned(), detail: why_not(scheme) }),
    }
}

/// Why there is no client for a scheme.
fn why_not(scheme: &str) -> String {
    let features = [("s3", "s3"), ("gs", "gcs"), ("az", "azure")];
    match features.into_iter().find(|(known, _)| *known == scheme) {
        Some((_, feature)) => format!("this build does not know such stores: build it with `--features {feature}`"),
        None => "it is neither a folder nor `file://…`, `s3://…`, `gs://…` or `az://…`".to_owned(),
    }
}

/// Few: drivers try again later, and tell.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn retries() -> object_store::RetryConfig {
    let retry_timeout = std::time::Duration::from_secs(20);
    object_store::RetryConfig { max_retries: 3, retry_timeout, ..object_store::RetryConfig::default() }
}
