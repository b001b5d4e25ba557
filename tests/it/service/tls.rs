//! TLS, to the service and from it to its store, with a certificate that is good for nothing else.

use std::error::Error;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use freshet::app::App;
use freshet::online::{Redis, RedisOptions};
use reqwest::{Certificate, Client, Version};
use serde_json::json;

use super::{CLICKS, SHOP, config, start_with, until};
use crate::process::{Process, freshet, run};

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
    let mut command = freshet(["list"]);
    command.env("FRESHET_URL", app.url());
    let said = run(command).await.failed(1);
    assert!(said.contains("is not trusted") && said.contains("SSL_CERT_FILE"), "{said}");
    let mut command = freshet(["list"]);
    command.env("FRESHET_URL", app.url()).env("SSL_CERT_FILE", &cert);
    run(command).await.done();
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

/// A Redis that speaks nothing but TLS.
struct TlsRedis {
    child: Child,
    url: String,
}

impl TlsRedis {
    fn start(folder: &Path) -> TlsRedis {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port().to_string();
        drop(listener);
        let mut command = Command::new(std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned()));
        command
            .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no", "--save", "", "--dir"])
            .arg(folder);
        for (option, name) in
            [("--tls-cert-file", "cert.pem"), ("--tls-key-file", "key.pem"), ("--tls-ca-cert-file", "cert.pem")]
        {
            command.arg(option).arg(file(name));
        }
        let child = command.stdout(Stdio::null()).spawn();
        let child = child.expect("redis-server is there: run ./test, or tests/servers cargo test ...");
        TlsRedis { child, url: format!("rediss://127.0.0.1:{port}") }
    }
}

impl Drop for TlsRedis {
    fn drop(&mut self) {
        // It may have ended before: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_over_tls_is_written_and_read_by_who_trusts_its_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = TlsRedis::start(folder.path());
    let (cert, setting) = (file("cert.pem"), format!("redis={}", redis.url));
    let mut process =
        Process::spawn_in(&[("SSL_CERT_FILE", text(&cert))], &folder.path().join("trusting"), &[&setting]);
    let api = process.ready().await;
    api.send("/v1/definitions/apply", "application/yaml", SHOP).await.json();
    api.send("/v1/sources/clicks/events?replay=true", "application/json", CLICKS).await.json();
    let asked = json!({ "features": ["activity:clicks"], "entities": { "user_id": ["u1"] } });
    until("the clicks are counted", async || {
        let answer = api.post("/v1/online-features", &asked).await;
        (answer.status == 200 && answer.json()["columns"][1]["values"] == json!([3])).then_some(())
    })
    .await;
    process.stop().await;
}

#[tokio::test]
async fn a_store_whose_certificate_nobody_vouches_for_is_refused_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = TlsRedis::start(folder.path());
    let options = RedisOptions { shards: 2, wait: 0, wait_limit: Duration::ZERO };
    let project = "shop".parse().expect("a name");
    let opened = Redis::open(&redis.url, &project, options).await;
    let told = chain(&opened.err().expect("refused"));
    assert!(told.contains(&redis.url) && told.contains("invalid peer certificate"), "{told}");
}

fn chain(error: &dyn Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {}", chain(source)))
}
