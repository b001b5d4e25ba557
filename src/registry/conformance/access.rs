//! Keys and the audit log.

use super::at;
use crate::registry::access::{ApiKey, AuditEntry, Digest, KeyText, Scope};
use crate::registry::{Registry, Revocation};

pub async fn keys_read_back_the_newest_first_and_revoked_ones_stay(registry: &dyn Registry, reopened: &dyn Registry) {
    let ranker = ApiKey {
        scopes: vec![Scope::Read, Scope::Ingest],
        services: vec!["shelf".parse().expect("a name"), "front_page".parse().expect("a name")],
        sources: vec!["clicks".parse().expect("a name")],
        ..key("aaaaaaaaaaaa", 1)
    };
    let admin = key("bbbbbbbbbbbb", 2);
    registry.add_key(&ranker).await.expect("added");
    registry.add_key(&admin).await.expect("added");
    assert_eq!(reopened.keys().await.expect("answers"), [admin.clone(), ranker.clone()]);
    let revoke = async |id: &str, by: &str, now: i64| registry.revoke_key(id, by, at(now)).await.expect("answers");
    assert_eq!(revoke(&ranker.id, "ada", 5).await, Revocation::Done);
    assert_eq!(revoke(&ranker.id, "ben", 6).await, Revocation::DoneBefore);
    assert_eq!(revoke("cccccccccccc", "ben", 6).await, Revocation::Unknown);
    let revoked = ApiKey { revoked: Some((at(5), "ada".to_owned())), ..ranker };
    assert_eq!(reopened.keys().await.expect("answers"), [admin, revoked]);
}

pub async fn each_change_of_keys_is_counted(registry: &dyn Registry, reopened: &dyn Registry) {
    let mut before = registry.changes().await.expect("answers");
    let mut moved = async || {
        let after = reopened.changes().await.expect("answers");
        std::mem::replace(&mut before, after) < after
    };
    registry.add_key(&key("aaaaaaaaaaaa", 1)).await.expect("added");
    assert!(moved().await, "a new key");
    registry.revoke_key("aaaaaaaaaaaa", "ada", at(2)).await.expect("answers");
    assert!(moved().await, "a revocation");
    registry.revoke_key("aaaaaaaaaaaa", "ada", at(3)).await.expect("answers");
    assert!(!moved().await, "nothing was left to revoke");
}

pub async fn a_key_of_one_project_is_nothing_in_another(one: &dyn Registry, another: &dyn Registry) {
    one.add_key(&key("aaaaaaaaaaaa", 1)).await.expect("added");
    one.begin_audit(&entry("a", 1)).await.expect("written");
    assert_eq!(another.keys().await.expect("answers"), []);
    assert_eq!(another.revoke_key("aaaaaaaaaaaa", "eve", at(2)).await.expect("answers"), Revocation::Unknown);
    assert_eq!(one.keys().await.expect("answers")[0].revoked, None);
    assert_eq!(another.audit(9).await.expect("answers"), []);
    another.end_audit("a", "200").await.expect("answers");
    assert_eq!(one.audit(9).await.expect("answers"), [entry("a", 1)]);
}

pub async fn what_is_audited_is_there_before_its_outcome(registry: &dyn Registry, reopened: &dyn Registry) {
    for (id, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
        registry.begin_audit(&entry(id, seconds)).await.expect("written");
    }
    registry.end_audit("b", "200: revision 4").await.expect("written");
    let ended = AuditEntry { outcome: Some("200: revision 4".to_owned()), ..entry("b", 2) };
    assert_eq!(reopened.audit(2).await.expect("answers"), [entry("c", 3), ended]);
}

fn key(id: &str, created: i64) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        name: format!("key of {id}"),
        digest: KeyText::generate().map_or(Digest::NONE, |text| text.digest()),
        scopes: vec![Scope::Admin],
        services: vec![],
        sources: vec![],
        created_at: at(created),
        created_by: "ada".to_owned(),
        revoked: None,
    }
}

fn entry(id: &str, seconds: i64) -> AuditEntry {
    let call = "POST /v1/definitions/apply".to_owned();
    AuditEntry { id: id.to_owned(), at: at(seconds), by: "ada".to_owned(), call, outcome: None }
}
