//! Who may do what: API keys as they are kept, and who holds the one that was shown.
//!
//! What is absent: no secret is kept, only its hash; no request is known here; no clock is read. What was learnt of a
//! key is believed for [`BELIEVED_FOR`], so a key that is revoked is refused everywhere within that time.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use posthaste_mail::{ApiKey, KeyId, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::ambient::Ambient;
use crate::stores::{Directory, StoreError};

/// How long an answer about a key is believed: a revocation is promised to hold within 30 s, and one read in that time
/// is nothing beside the requests it stands for.
pub const BELIEVED_FOR: Duration = Duration::from_secs(20);
/// Keys remembered: about 300 octets each.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
/// Ids remembered that are no key's. Apart from the others, so that whoever guesses pushes out only guesses.
const UNKNOWN_MAX: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Submitting, and taking back or pressing what was submitted.
    Send,
    /// Looking.
    Read,
    /// The suppression list and the tenant's keys.
    Admin,
    /// What is no tenant's: dead letters, sites, every tenant's keys.
    Operator,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Send, Self::Read, Self::Admin, Self::Operator];

    /// The name as in commands and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }

    /// A scope by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its public half.
    pub id: KeyId,
    /// [`ApiKey::hash`].
    pub hash: [u8; 32],
    /// Whose it is; none: an operator's, with the scope `operator` alone.
    pub tenant: Option<Tenant>,
    /// What it may do; in order, each once.
    pub scopes: Vec<Scope>,
    /// What people call it.
    pub name: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// What a tenant that asks for so many recipients is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// They are counted.
    Granted,
    /// The window is full until then; nothing is counted.
    Until(Timestamp),
}

/// Makes a key: what is kept of it, and the key itself, which nobody can show again.
pub fn make_key(
    ambient: &Ambient,
    tenant: Option<Tenant>,
    mut scopes: Vec<Scope>,
    name: String,
) -> (KeyRecord, ApiKey) {
    let mut secret = [0; posthaste_mail::api_key::SECRET_OCTETS];
    for half in secret.chunks_mut(16) {
        half.copy_from_slice(&ambient.chance.octets()[..half.len()]);
    }
    let key = ApiKey::from_random(KeyId::from_random(ambient.chance.octets()), secret);
    scopes.sort_unstable();
    scopes.dedup();
    let (id, hash, created_at) = (key.id().clone(), key.hash(), ambient.now());
    (KeyRecord { id, hash, tenant, scopes, name, created_at }, key)
}

/// What was learnt of an id, and when.
type Learnt<T> = LruCache<KeyId, (T, Timestamp)>;

/// Knows keys again without asking the directory each time.
pub struct Keyring {
    known: Mutex<Learnt<KeyRecord>>,
    unknown: Mutex<Learnt<()>>,
}

impl Default for Keyring {
    fn default() -> Self {
        Self { known: Mutex::new(LruCache::new(KNOWN_MAX)), unknown: Mutex::new(LruCache::new(UNKNOWN_MAX)) }
    }
}

impl Keyring {
    /// The key that was shown, if it is one: its form, its id and its secret.
    pub async fn check(
        &self,
        directory: &dyn Directory,
        shown: &str,
        now: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let Some(key) = ApiKey::parse(shown) else { return Ok(None) };
        let record = match self.remembered(key.id(), now) {
            Some(learnt) => learnt,
            None => self.learn(directory, key.id(), now).await?,
        };
        // In constant time: how long it takes tells nothing of how much was right.
        Ok(record.filter(|record| bool::from(record.hash.ct_eq(&key.hash()))))
    }

    /// Forgets what is known of a key: it was revoked here.
    pub fn forget(&self, id: &KeyId) {
        locked(&self.known).pop(id);
    }

    fn remembered(&self, id: &KeyId, now: Timestamp) -> Option<Option<KeyRecord>> {
        if let Some(record) = fresh(&self.known, id, now) {
            return Some(Some(record));
        }
        fresh(&self.unknown, id, now).map(|()| None)
    }

    async fn learn(
        &self,
        directory: &dyn Directory,
        id: &KeyId,
        now: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let record = directory.find(id).await?;
        match &record {
            Some(record) => locked(&self.known).put(id.clone(), (record.clone(), now)).map(drop),
            None => locked(&self.unknown).put(id.clone(), ((), now)).map(drop),
        };
        Ok(record)
    }
}

/// What was learnt, unless it is too long ago. A clock that went back makes it too long ago as well.
fn fresh<T: Clone>(learnt: &Mutex<Learnt<T>>, id: &KeyId, now: Timestamp) -> Option<T> {
    let mut learnt = locked(learnt);
    let (what, since) = learnt.get(id)?;
    if *since <= now && now.since(*since) < BELIEVED_FOR {
        return Some(what.clone());
    }
    learnt.pop(id);
    None
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind it is a cache: whole after every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use posthaste_policy::Policy;

    use super::*;

    /// A directory of at most one key, which counts how often it is asked.
    #[derive(Default)]
    struct OneKey {
        key: Mutex<Option<KeyRecord>>,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Directory for OneKey {
        async fn remember(&self, _: &Tenant) -> Result<(), StoreError> {
            Ok(())
        }

        async fn tenant(
            &self,
            _: &crate::deliver::return_path::TenantTag,
        ) -> Result<Option<Tenant>, StoreError> {
            Ok(None)
        }

        async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok(locked(&self.key).clone().filter(|key| key.id == *id))
        }
        async fn put(&self, key: KeyRecord) -> Result<(), StoreError> {
            *locked(&self.key) = Some(key);
            Ok(())
        }
        async fn list(
            &self,
            _of: Option<&Tenant>,
            _after: Option<&KeyId>,
            _limit: usize,
        ) -> Result<Vec<KeyRecord>, StoreError> {
            Ok(locked(&self.key).clone().into_iter().collect())
        }
        async fn revoke(&self, _of: Option<&Tenant>, _id: &KeyId) -> Result<bool, StoreError> {
            Ok(locked(&self.key).take().is_some())
        }
    }

    fn made() -> (KeyRecord, ApiKey) {
        let ambient = Ambient::system(Policy::sandbox());
        make_key(&ambient, Some(Tenant::default_tenant()), vec![Scope::Read, Scope::Send], "ci".to_owned())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn a_key_is_known_by_its_secret() {
        let directory = OneKey::default();
        let ((record, key), (_, other)) = (made(), made());
        assert_eq!(record.scopes, [Scope::Send, Scope::Read]);
        directory.put(record.clone()).await.unwrap();
        let ring = Keyring::default();
        let check = async |shown: &str, expected: Option<&KeyRecord>| {
            assert_eq!(ring.check(&directory, shown, at(0)).await.unwrap().as_ref(), expected, "{shown}");
        };
        check(&key.reveal(), Some(&record)).await;
        check(&other.reveal(), None).await;
        let secret = other.reveal().rsplit('_').next().unwrap().to_owned();
        check(&format!("ph_{}_{secret}", key.id()), None).await;
        check(&format!("ph_{}_", key.id()), None).await;
        check("k1", None).await;
    }

    #[tokio::test]
    async fn what_was_learnt_is_believed_for_a_while_and_no_longer() {
        let directory = OneKey::default();
        let (record, key) = made();
        let ring = Keyring::default();
        let check = async |seconds: u64, expected: bool, asked: usize| {
            let known = ring.check(&directory, &key.reveal(), at(seconds)).await.unwrap();
            assert_eq!(
                (known.is_some(), directory.asked.load(Ordering::Relaxed)),
                (expected, asked),
                "{seconds} s"
            );
        };
        check(0, false, 1).await;
        directory.put(record.clone()).await.unwrap();
        check(19, false, 1).await;
        check(20, true, 2).await;
        directory.revoke(None, &record.id).await.unwrap();
        check(39, true, 2).await;
        check(40, false, 3).await;
        directory.put(record.clone()).await.unwrap();
        check(60, true, 4).await;
        directory.revoke(None, &record.id).await.unwrap();
        ring.forget(&record.id);
        check(61, false, 5).await;
    }

    #[tokio::test]
    async fn guesses_do_not_push_out_what_is_known() {
        let directory = OneKey::default();
        let (record, key) = made();
        directory.put(record).await.unwrap();
        let ring = Keyring::default();
        ring.check(&directory, &key.reveal(), at(0)).await.unwrap();
        for n in 0..=KNOWN_MAX.get() as u128 {
            let guess = ApiKey::from_random(KeyId::from_random(n.to_be_bytes()), [0; 32]);
            assert_eq!(ring.check(&directory, &guess.reveal(), at(1)).await.unwrap(), None);
        }
        let asked = directory.asked.load(Ordering::Relaxed);
        assert!(ring.check(&directory, &key.reveal(), at(2)).await.unwrap().is_some());
        assert_eq!(directory.asked.load(Ordering::Relaxed), asked);
        assert!(locked(&ring.unknown).len() <= UNKNOWN_MAX.get());
    }
}
