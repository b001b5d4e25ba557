//! HTTP/2 clients that ask for nothing, or take nothing of what they asked for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freshet::app::App;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::start_with;

/// For what happens soon, or never; shorter than HTTP/2 itself waits for a client that answers no PING.
const PATIENCE: Duration = Duration::from_secs(30);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Settings without any, so that the client is one.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// `SETTINGS_INITIAL_WINDOW_SIZE` = 0: nothing of an answer may come.
const NO_WINDOW: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/service/tls_files").join(name);
    path.display().to_string()
}

async fn patient(folder: &Path) -> App {
    let settings =
        [("tls_cert", file("cert.pem")), ("tls_key", file("key.pem")), ("idle_timeout_ms", "200".to_owned())];
    start_with(folder, &settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await.0
}

/// A connection that has agreed to speak HTTP/2, and says nothing.
async fn connect(app: &App) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("cert.pem")).expect("a certificate")).expect("added");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("known").with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = app.url().replace("https://", "");
    let stream = TcpStream::connect(&address).await.expect("it listens");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("it agrees");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream
}

/// Until the service closes the connection, however it does.
async fn ended(mut stream: TlsStream<TcpStream>) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the service closes the connection");
    all
}

/// `GET` of a path, as the first and only stream.
fn get(path: &str) -> Vec<u8> {
    // `:method GET` and `:scheme https` are numbers of HPACK's table; the others are written out.
    let mut block = vec![0x82, 0x87, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'x']);
    // The end of the headers, and of the stream.
    let mut frame = vec![0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1];
    frame.extend(block);
    frame
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_is_let_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = patient(folder.path()).await;
    let silent = connect(&app).await;
    let mut idle = connect(&app).await;
    idle.write_all(&[PREFACE, SETTINGS].concat()).await.expect("sent");
    ended(silent).await;
    let said = ended(idle).await;
    assert!(said.len() > SETTINGS.len(), "it has heard the settings and a farewell");
    app.stop().await.expect("it stops cleanly");
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up_with_its_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = patient(folder.path()).await;
    let mut stuck = connect(&app).await;
    stuck.write_all(&[PREFACE, NO_WINDOW, &get("/openapi.json")].concat()).await.expect("sent");
    let said = ended(stuck).await;
    assert!(said.len() < 10_000, "{} bytes came through no window", said.len());
    app.stop().await.expect("it stops cleanly");
}
