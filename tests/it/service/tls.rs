//! The service over TLS, with a certificate that is good for nothing else.

use std::path::{Path, PathBuf};

use freshet::app::App;
use reqwest::{Certificate, Client, Version};

use super::{config, start_with};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/service/tls_files").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is text")
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_speaks_either_http_over_tls_and_no_other_speaks_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let (app, _) = start_with(folder.path(), &[("tls_cert", text(&cert)), ("tls_key", text(&key))]).await;
    let url = format!("{}/healthz", app.url());
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let trusted = Certificate::from_pem(&std::fs::read(&cert).expect("it is there")).expect("a certificate");
    let client = || Client::builder().tls_built_in_root_certs(false).add_root_certificate(trusted.clone());
    for (client, version) in [(client(), Version::HTTP_2), (client().http1_only(), Version::HTTP_11)] {
        let answer = client.build().expect("a client").get(&url).send().await.expect("it answers");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
    }
    let strangers = Client::builder().tls_built_in_root_certs(false).build().expect("a client");
    assert!(strangers.get(&url).send().await.is_err(), "a certificate that nobody vouches for");
    let in_the_clear = Client::new().get(url.replace("https", "http")).send().await;
    assert!(in_the_clear.is_err(), "{in_the_clear:?}");
    app.stop().await.expect("it stops cleanly");
}

#[tokio::test]
async fn files_that_are_no_certificate_or_no_key_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key, missing) = (file("cert.pem"), file("key.pem"), file("none.pem"));
    let refusal = async |cert: &Path, key: &Path| {
        let config = config(folder.path(), &[("tls_cert", text(cert)), ("tls_key", text(key))]);
        App::start(config).await.err().expect("refused").to_string()
    };
    for (cert, key, named) in [(&missing, &key, "none.pem"), (&key, &key, "key.pem"), (&cert, &cert, "cert.pem")] {
        let refused = refusal(cert, key).await;
        assert!(refused.starts_with("cannot serve TLS with ") && refused.contains(named), "{refused}");
    }
}
