//! Servers that go away while a process runs: `/readyz` and lookups say which, until they are back. And servers that are
//! away while it starts, which it waits for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Service, until};
use crate::process::Process;
use crate::servers;

/// A way to a server, which can be shut.
struct Door {
    port: u16,
    server: String,
    /// The server's URL by this way.
    url: String,
    /// Ends with its connections when it is dropped.
    passing: Option<JoinSet<()>>,
    /// Connections that were made to it.
    calls: Arc<AtomicUsize>,
}

/// An address where nobody is.
const NOBODY: &str = "127.0.0.1:1";

impl Door {
    async fn before(url: &str) -> Door {
        let (_, rest) = url.split_once("://").expect("a URL");
        let place =
            rest.split(['/', '?']).next().and_then(|place| place.rsplit('@').next()).expect("a host and a port");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let url = url.replacen(place, &format!("127.0.0.1:{port}"), 1);
        let mut door = Door { port, server: place.to_owned(), url, passing: None, calls: Arc::default() };
        door.pass(listener);
        door
    }

    fn shut(&mut self) {
        self.passing = None;
    }

    /// Once the listener of before is gone.
    async fn open(&mut self) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = until("the port is free again", async || TcpListener::bind(address).await.ok()).await;
        self.pass(listener);
    }

    /// Leads to another server from now on; to nobody, and who comes is let in and turned out again.
    async fn lead_to(&mut self, server: &str) -> String {
        self.shut();
        let before = std::mem::replace(&mut self.server, server.to_owned());
        self.open().await;
        before
    }

    async fn is_called(&self, times: usize) {
        until("somebody comes", async || (self.calls.load(Ordering::SeqCst) >= times).then_some(())).await;
    }

    fn pass(&mut self, listener: TcpListener) {
        let (server, calls) = (self.server.clone(), self.calls.clone());
        self.passing.insert(JoinSet::new()).spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                calls.fetch_add(1, Ordering::SeqCst);
                let server = server.clone();
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        // Either side may just end.
                        drop(copy_bidirectional(&mut client, &mut server).await);
                    }
                });
            }
        });
    }
}

/// What a process lacks, by the answer of its `/readyz`.
async fn missing(service: &Service) -> Vec<String> {
    let answer = service.api.get("/readyz").await;
    if answer.status == 200 {
        return Vec::new();
    }
    let problem: Value = serde_json::from_slice(&answer.body).expect("a problem");
    assert_eq!((answer.status, &problem["code"]), (503, &"NOT_READY".into()), "{problem}");
    let places = problem["errors"].as_array().expect("a list").iter();
    places.map(|it| it["place"].as_str().expect("a place").to_owned()).collect()
}

#[tokio::test]
async fn a_process_whose_servers_are_away_is_not_ready_and_names_them_until_they_are_back() {
    let mut registry = Door::before(&servers::schema().await).await;
    let mut store = Door::before(&servers::address("REDIS_URL")).await;
    let project = servers::unique("shop");
    let settings = [("registry", registry.url.as_str()), ("redis", &store.url), ("project", &project)];
    let shop = Service::shop_with(&settings).await;
    until("it is ready", async || missing(&shop).await.is_empty().then_some(())).await;

    let lacks = async |place: &str| missing(&shop).await.iter().any(|it| it == place).then_some(());
    registry.shut();
    until("it lacks the registry", async || lacks("registry").await).await;
    let asked = json!({ "service": "recommender", "entities": { "user_id": ["u1"] }, "partial": true });
    assert_eq!(shop.api.post("/v1/online-features", &asked).await.status, 200, "lookups go on without it");
    store.shut();
    until("it lacks the store", async || lacks("online store").await).await;
    let failed = shop.api.post("/v1/online-features", &asked).await;
    let problem: Value = serde_json::from_slice(&failed.body).expect("a problem");
    let views: Vec<_> = problem["errors"].as_array().expect("a list").iter().map(|it| &it["place"]).collect();
    assert_eq!((failed.status, &problem["code"]), (503, &"STORE_UNAVAILABLE".into()), "{problem}");
    assert_eq!(views, ["activity", "visits"]);

    let told = shop.api.get("/v1/status").await.json();
    assert!(told["jobs"].is_null() && told["unavailable"][0].is_string(), "{told:#}");
    registry.open().await;
    // The change is made in the registry; how far it is, the store would know.
    let begun = until("the registry is back", async || {
        let begun = shop.api.post("/v1/rebuilds", &json!({ "views": ["visits"] })).await;
        (begun.status != 503).then_some(begun)
    });
    let begun = begun.await.json();
    assert_eq!((&begun["rebuilds"][0]["view"], &begun["rebuilds"][0]["progress"]), (&"visits".into(), &Value::Null));
    store.open().await;
    until("it is ready again", async || missing(&shop).await.is_empty().then_some(())).await;
    assert_eq!(shop.api.post("/v1/online-features", &asked).await.status, 200);
    shop.stop().await;
}

#[tokio::test]
async fn a_process_that_starts_while_its_servers_are_away_waits_for_one_after_the_other() {
    let mut registry = Door::before(&servers::schema().await).await;
    let mut store = Door::before(&servers::address("REDIS_URL")).await;
    let (registry_server, store_server) = (registry.lead_to(NOBODY).await, store.lead_to(NOBODY).await);
    let folder = tempfile::tempdir().expect("a folder");
    let setting = |name: &str, value: &str| format!("{name}={value}");
    let settings = [
        setting("registry", &registry.url),
        setting("redis", &store.url),
        setting("project", &servers::unique("shop")),
    ];
    let mut process = Process::spawn(folder.path(), &settings.each_ref().map(String::as_str));

    registry.is_called(3).await;
    registry.lead_to(&registry_server).await;
    store.is_called(3).await;
    store.lead_to(&store_server).await;
    let api = process.ready().await;
    until("it is ready", async || (api.get("/readyz").await.status == 200).then_some(())).await;
    process.stop().await;
}
