//! TLS towards clients: a certificate chain and its key, in PEM files.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// Says which file, and what is wrong with it; never what is in it.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve TLS with {}: {detail}", file.display())]
pub struct Error {
    file: PathBuf,
    detail: String,
}

/// TLS 1.3 and 1.2, and HTTP/2 where the client knows it. The files are read here and not again: a renewed certificate
/// is taken up by a restart.
pub(super) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let chain = CertificateDer::pem_file_iter(&tls.cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| wrong(&tls.cert, error))?;
    if chain.is_empty() {
        return Err(wrong(&tls.cert, "there is no certificate in it (`-----BEGIN CERTIFICATE-----`)"));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of both versions");
    let config = builder.with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(|error| wrong(&tls.key, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn wrong(file: &Path, detail: impl Display) -> Error {
    Error { file: file.to_owned(), detail: detail.to_string() }
}
