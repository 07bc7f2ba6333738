//! What goes wrong inside, and what is in memory only: the store's behaviour is held to the contract elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use posthaste_mail::{Address, Lane, MessageId, PartKey, ReversePath, Tenant, Timestamp};
use posthaste_pipeline::row::{Content, Facts, Guarantee, HeaderCharset, Realm, Row, RowKey};
use posthaste_pipeline::stores::{
    Acceptance, Accepted, Intake, Ledger, Search, SearchBy, Spool, StoreError, Suppressions,
};
use tempfile::TempDir;

use crate::{DATABASE_FILE, Embedded, OpenError, Options};

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default()).unwrap()
}

fn submission(n: usize, octets: usize) -> Acceptance {
    let facts = Facts {
        request_hash: n.to_string(),
        spool: format!("spool {n}"),
        size: octets as u64,
        from: "hello@acme.example".to_owned(),
        subject: "subject".to_owned(),
        reverse_path: ReversePath::Null,
        lane: Lane::Bulk,
        tags: BTreeMap::from([("n".to_owned(), n.to_string())]),
        accepted_at: Timestamp(0),
        send_at: None,
        lifetime_ms: 1_000,
        guarantee: Guarantee::AtLeastOnce,
        tls: None,
        content: Content::SevenBit,
        header: HeaderCharset::Ascii,
        realm: Realm::World,
        sender: None,
        bounces: None,
        notices: posthaste_pipeline::row::Told::Unwanted,
    };
    let recipient = Address::parse(&format!("user{n}@example.net")).unwrap();
    let id = MessageId::derived(&[&n.to_be_bytes()]);
    let row = Row::accepted(id, Tenant::default_tenant(), facts, &[recipient]);
    Acceptance { row, message: Bytes::from(vec![b'x'; octets]), job: None }
}

fn key(n: usize) -> PartKey {
    submission(n, 0).row.key
}

fn row_key(n: usize) -> RowKey {
    submission(n, 0).row.row_key()
}

async fn accept(store: &Embedded, n: usize, octets: usize) -> Result<Accepted, StoreError> {
    store.accept(vec![submission(n, octets)]).await.map(|mut answers| answers.pop().unwrap())
}

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_does_not_fit_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    assert_eq!(accept(&store, 0, 10).await.unwrap(), Accepted::New);
    // What SQLite says at this number of pages is what it says when the disk is full.
    let limit = |pages: i64| {
        store.writer().ask(0, move |tx| {
            Ok(tx
                .connection()
                .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))?)
        })
    };
    limit(40).await.unwrap();
    let (big, small) = tokio::join!(accept(&store, 1, 1_000_000), accept(&store, 2, 10));
    assert!(is_unavailable(&big), "{big:?}");
    assert_eq!(small.unwrap(), Accepted::New);
    assert_eq!(store.read(&[row_key(1)]).await.unwrap(), [None]);
    assert_eq!(Spool::open(&store, "spool 1").await.unwrap(), None);
    limit(1_000_000).await.unwrap();
    assert_eq!(accept(&store, 1, 1_000_000).await.unwrap(), Accepted::New);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_in_one_operation_is_an_outage_of_that_operation() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let defect =
        store.writer().ask(0, |_| -> Result<(), crate::fault::Fault> { panic!("a defect, on purpose") });
    let (defect, accepted) = tokio::join!(defect, accept(&store, 1, 10));
    assert!(is_unavailable(&defect), "{defect:?}");
    assert_eq!(accepted.unwrap(), Accepted::New);
    assert_eq!(accept(&store, 2, 10).await.unwrap(), Accepted::New);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_said_to_be_corrupt() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    accept(&store, 1, 10).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(directory.path());
    let damage = store.writer().ask(0, |tx| {
        tx.connection().execute("UPDATE rows SET doc = CAST('{\"key\":' AS BLOB)", [])?;
        Ok(())
    });
    damage.await.unwrap();
    let read = store.read(&[row_key(1)]).await;
    assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    let again = accept(&store, 1, 10).await;
    assert!(matches!(again, Err(StoreError::Corrupt(_))), "{again:?}");
    assert_eq!(accept(&store, 2, 10).await.unwrap(), Accepted::New);
}

#[test]
fn a_later_version_and_a_foreign_file_are_refused() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()));
    let database = directory.path().join(DATABASE_FILE);
    rusqlite::Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Embedded::open(directory.path(), Options::default());
    assert!(matches!(refused, Err(OpenError::UnknownVersion { found: 99, .. })));
    std::fs::write(&database, vec![7; 100_000]).unwrap();
    let refused = Embedded::open(directory.path(), Options::default());
    assert!(matches!(refused, Err(OpenError::Sqlite(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_are_found_in_memory_in_the_table_and_after_a_restart() {
    const MESSAGES: usize = 4_000;
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    for from in (0..MESSAGES).step_by(250) {
        let answers = store.accept((from..from + 250).map(|n| submission(n, 0)).collect()).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == Accepted::New));
    }
    let written = store.writer().ask(0, |tx| {
        Ok(tx.connection().query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, usize>(0))?)
    });
    let written = written.await.unwrap();
    assert!(
        (1..5 * MESSAGES).contains(&written),
        "{written}: none or all are in the table, so nothing is shown"
    );
    for _ in 0..2 {
        let store = &store;
        for n in (0..MESSAGES).step_by(61) {
            let by = SearchBy::Tag { name: "n".to_owned(), value: n.to_string() };
            let search = Search { tenant: Tenant::default_tenant(), by, after: None, limit: 10 };
            assert_eq!(store.find(&search).await.unwrap().ids, [key(n).message], "{n}");
            assert!(store.message(&search.tenant, &key(n).message).await.unwrap().len() == 1, "{n}");
        }
    }
    drop(store);
    let store = open(directory.path());
    let mut rows = Vec::new();
    for from in (0..MESSAGES).step_by(500) {
        let keys: Vec<_> = (from..from + 500).map(row_key).collect();
        rows.extend(store.read(&keys).await.unwrap());
    }
    assert!(rows.iter().enumerate().all(|(n, row)| row.as_ref().is_some_and(|row| row.key == key(n))));
    let all = Search { tenant: Tenant::default_tenant(), by: SearchBy::All, after: None, limit: 1_000 };
    let page = store.find(&all).await.unwrap();
    let newest: Vec<_> = (MESSAGES - 1_000..MESSAGES).rev().map(|n| key(n).message).collect();
    assert_eq!(page.ids, newest);
    assert!(matches!(accept(&store, 7, 0).await.unwrap(), Accepted::Same(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_and_what_is_not_in_it_is_read() {
    let directory = TempDir::new().unwrap();
    let options = Options { rows_octets: 10_000, bodies_octets: 50_000 };
    let store = Embedded::open(directory.path(), options).unwrap();
    for n in 0..50 {
        accept(&store, n, 10_000).await.unwrap();
    }
    for n in (0..50).chain([3, 3, 3]) {
        assert_eq!(store.read(&[row_key(n)]).await.unwrap(), [Some(submission(n, 10_000).row)]);
        assert_eq!(
            Spool::open(&store, &format!("spool {n}")).await.unwrap().map(|body| body.len()),
            Some(10_000)
        );
    }
    let nobody = Address::parse("nobody@example.net").unwrap();
    assert_eq!(store.check(&Tenant::default_tenant(), &[nobody]).await.unwrap(), [vec![]]);
}
