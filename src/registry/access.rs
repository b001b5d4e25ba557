//! API keys and the audit log: who may call a project's services, and what its administrators changed.
//!
//! A key is `freshet_ID_SECRET`: 48 random bits that name it, and 256 that nobody can guess. Of the text only the SHA-256
//! is kept. A slow, salted hash is for passwords, of which there are few to try; of secrets there are 2²⁵⁶, and a fast
//! hash can be asked for with every request. Whoever reads the registry cannot call with what is there.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::kernel::name::Name;
use crate::kernel::time::EventTime;

/// What a key may do. [`Scope::Admin`] may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Looks features up, cuts training sets, sees definitions and status.
    Read,
    /// Sends events, and sees those that were rejected.
    Ingest,
    /// Changes what is applied, replays history, starts rebuilds, makes and revokes keys.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Ingest, Scope::Admin];

    /// As rows, requests and answers carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Ingest => "ingest",
            Scope::Admin => "admin",
        }
    }
}

/// One key of a project, without what its owner alone knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: String,
    /// Who or what calls with it, for people.
    pub name: String,
    pub digest: Digest,
    /// Ordered, and each once.
    pub scopes: Vec<Scope>,
    /// The feature services that it may read; all where there is none.
    pub services: Vec<Name>,
    /// The sources that it may send events to; all where there is none.
    pub sources: Vec<Name>,
    pub created_at: EventTime,
    pub created_by: String,
    /// When, and by whom.
    pub revoked: Option<(EventTime, String)>,
}

impl ApiKey {
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// A key as its owner has it. It can be sent and be asked for its digest; nothing shows it.
#[derive(Clone)]
pub struct KeyText(String);

const PREFIX: &str = "freshet_";

impl KeyText {
    /// Another one with every call, from the operating system's randomness.
    pub fn generate() -> Result<KeyText, getrandom::Error> {
        let mut random = [0; 38];
        getrandom::fill(&mut random)?;
        let (id, secret) = random.split_at(6);
        Ok(KeyText(format!("{PREFIX}{}_{}", hex(id), BASE64_URL_SAFE_NO_PAD.encode(secret))))
    }

    /// `None` where the text has not the shape of a key.
    pub fn parse(text: &str) -> Option<KeyText> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_key = id.len() == 12 && secret.len() == 43 && text.is_ascii();
        is_key.then(|| KeyText(text.to_owned()))
    }

    /// By which its row is found. It is no secret.
    pub fn id(&self) -> &str {
        &self.0[PREFIX.len()..PREFIX.len() + 12]
    }

    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.0).into())
    }

    /// To hand it to its owner, once, or to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_***", self.id())
    }
}

/// The SHA-256 of a key's text. Two are compared in a time that does not tell how much of them is equal.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// No key's: to compare with where no key is known.
    pub const NONE: Digest = Digest([0; 32]);

    pub fn from_hex(text: &str) -> Option<Digest> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Digest(bytes))
    }

    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(***)")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A call that may change something, written down before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub id: String,
    pub at: EventTime,
    pub by: String,
    /// `POST /v1/definitions/apply?revision=3`.
    pub call: String,
    /// What became of it, `200: revision 4`. `None`: it is under way, or its process died before it knew.
    pub outcome: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_digest_and_by_nothing_that_is_kept() {
        let (key, other) = (KeyText::generate().expect("random"), KeyText::generate().expect("random"));
        let sent = KeyText::parse(key.reveal()).expect("it has the shape of a key");
        assert_eq!((sent.id(), sent.digest()), (key.id(), key.digest()));
        assert_ne!(key.digest(), other.digest());
        assert_eq!(Digest::from_hex(&key.digest().to_hex()), Some(key.digest()));
        let secret = key.reveal().rsplit_once(key.id()).expect("it holds its id").1;
        assert!(!format!("{key:?}{:?}", key.digest()).contains(secret) && !key.digest().to_hex().contains(secret));
    }

    #[test]
    fn one_bit_of_difference_is_a_difference() {
        let digest = KeyText::generate().expect("random").digest();
        for bit in 0..256 {
            let mut other = digest;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, other, "bit {bit}");
        }
    }

    #[test]
    fn what_has_not_the_shape_of_a_key_is_none() {
        let key = KeyText::generate().expect("random");
        let whole = key.reveal();
        let wrong = ["", "freshet_", "secret", &whole[1..], &whole[..whole.len() - 1], &whole.replace('_', "-")];
        for text in
            wrong.into_iter().map(str::to_owned).chain([format!("{whole}x"), whole.replace(key.id(), "é12345678901")])
        {
            assert!(KeyText::parse(&text).is_none(), "{text}");
        }
        assert_eq!(Digest::from_hex("zz"), None);
        assert_eq!(Digest::from_hex(&"zz".repeat(32)), None);
    }
}
