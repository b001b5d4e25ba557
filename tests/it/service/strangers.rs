//! Web pages that somebody on the machine looks at: their browser reaches a service on loopback as well.

use expect_test::expect;

use super::{SHOP, Service, problem};

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_in_a_project_without_keys() {
    let shop = Service::shop().await;
    let page = shop.api.with_header("origin", "https://evil.example").with_header("sec-fetch-site", "cross-site");
    let alone = "kind: entity\nname: mine\nkeys: [{ name: id, type: string }]\n";
    let mut refused = problem(&page.send("/v1/definitions/apply", "text/plain", alone).await);
    let page = shop.api.with_header("origin", "https://evil.example");
    refused += &problem(&page.send("/v1/sources/clicks/events?replay=true", "text/plain", "{}").await);
    let renamed = shop.api.with_header("host", "evil.example");
    refused += &problem(&renamed.get("/v1/definitions").await);
    expect![[r#"
        403 CROSS_SITE: the call is from a web page of another site, and the project has no API keys that would tell it from others: make one with `freshet keys create` and send it, or call the service by its address, as a proxy in front of it has to as well
        403 CROSS_SITE: the call is from a web page of https://evil.example, and the project has no API keys that would tell it from others: make one with `freshet keys create` and send it, or call the service by its address, as a proxy in front of it has to as well
        403 CROSS_SITE: the call is from somebody who calls this service `evil.example`, and the project has no API keys that would tell it from others: make one with `freshet keys create` and send it, or call the service by its address, as a proxy in front of it has to as well
    "#]]
    .assert_eq(&refused);
    let own = shop.api.with_header("origin", shop.api.base());
    assert_eq!(own.send("/v1/definitions/plan", "application/yaml", SHOP).await.status, 200, "its own pages");
    shop.stop().await;
}

#[tokio::test]
async fn where_keys_tell_who_calls_it_does_not_matter_from_where() {
    let shop = Service::shop().await;
    let key = shop.api.post("/v1/keys", &serde_json::json!({ "name": "page", "scopes": ["admin"] })).await.json();
    let page = shop.api.with_key(key["key"].as_str().expect("its text")).with_header("origin", "https://shop.example");
    assert_eq!(page.get("/v1/definitions").await.status, 200);
    shop.stop().await;
}
