//! Finding messages again, and what waits.

use std::collections::BTreeMap;

use posthaste_mail::{MessageId, Tenant, Timestamp};
use posthaste_pipeline::effect::Step;
use posthaste_pipeline::row::{Row, State};
use posthaste_pipeline::stores::{Applied, Found, Search, SearchBy, Stores, WaitingGroup};

use super::make::{self, at, submission, tenant};
use super::{Subject, accept_new, again, drive};

async fn submit(stores: &Stores, name: &str, of: &Tenant, recipients: &str, tags: &[(&str, &str)]) -> Row {
    let mut facts = make::facts(name);
    facts.tags = tags
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<BTreeMap<_, _>>();
    let row = make::row(name, of, facts, recipients);
    accept_new(stores, submission(row.clone())).await;
    row
}

fn search(of: &Tenant, by: SearchBy, after: Option<String>, limit: usize) -> Search {
    Search { tenant: of.clone(), by, after, limit }
}

fn ids(names: &[&str]) -> Vec<MessageId> {
    names.iter().map(|name| make::message(name)).collect()
}

fn tag(name: &str, value: &str) -> SearchBy {
    SearchBy::Tag { name: name.to_owned(), value: value.to_owned() }
}

fn recipient(folded: &str) -> SearchBy {
    SearchBy::Recipient(folded.to_owned())
}

/// Messages are found by recipient and by tag, newest first, by their own tenant only.
pub async fn messages_are_found_newest_first(subject: &Subject) {
    let stores = &subject.stores;
    let (of, other) = (Tenant::default_tenant(), tenant("other"));
    submit(stores, "one", &of, "Ann@example.net", &[("release", "v1")]).await;
    submit(stores, "two", &of, "bob@example.net ann@example.net", &[("release", "v2"), ("kind", "otp")])
        .await;
    submit(stores, "three", &of, "bob@two.example ann@example.net", &[("release", "v1")]).await;
    submit(stores, "four", &other, "ann@example.net", &[("release", "v1")]).await;

    let check = async |of: &Tenant, by: SearchBy, expected: &[&str]| {
        let found = again(|| {
            let search = search(of, by.clone(), None, 10);
            async move { stores.ledger.find(&search).await }
        })
        .await;
        assert_eq!(found, Found { ids: ids(expected), next: None }, "{by:?}");
    };
    check(&of, SearchBy::All, &["three", "two", "one"]).await;
    check(&of, recipient("ann@example.net"), &["three", "two", "one"]).await;
    check(&of, recipient("bob@two.example"), &["three"]).await;
    check(&of, recipient("Ann@example.net"), &[]).await;
    check(&of, tag("release", "v1"), &["three", "one"]).await;
    check(&of, tag("kind", "otp"), &["two"]).await;
    check(&of, tag("v1", "release"), &[]).await;
    check(&other, SearchBy::All, &["four"]).await;
    check(&other, tag("release", "v1"), &["four"]).await;
    check(&tenant("third"), SearchBy::All, &[]).await;
}

/// Pages go on where the last one ended, also when new messages come meanwhile: none is shown twice, none left out.
pub async fn pages_stay_put(subject: &Subject) {
    let stores = &subject.stores;
    let of = Tenant::default_tenant();
    let name = |n: usize| format!("message {n}");
    for n in 0..23 {
        submit(stores, &name(n), &of, "ann@example.net", &[("release", "v1")]).await;
    }
    let mut came = 23;
    for by in [SearchBy::All, tag("release", "v1"), recipient("ann@example.net")] {
        let newest = came;
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let asked = search(&of, by.clone(), after, 5);
            let page = again(|| stores.ledger.find(&asked)).await;
            assert!(page.ids.len() <= 5 && (page.next.is_none() || page.ids.len() == 5), "{page:?}");
            seen.extend(page.ids);
            submit(stores, &name(came), &of, "ann@example.net", &[("release", "v1")]).await;
            came += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<MessageId> = (0..newest).rev().map(|n| make::message(&name(n))).collect();
        assert_eq!(seen, expected, "{by:?}");
    }
}

/// What waits is counted by domain and site; what is final is not.
pub async fn what_waits_is_counted(subject: &Subject) {
    let stores = &subject.stores;
    let (of, other) = (Tenant::default_tenant(), tenant("other"));
    let write = async |row: &Row, state: State, site: &str, due: Timestamp| {
        let mut next = row.clone();
        next.version += 1;
        next.state = state;
        next.site = Some(site.to_owned());
        next.due = due;
        let step = Step { expect: row.version, row: next, effects: Vec::new() };
        assert_eq!(drive(stores, step).await, Applied::Yes);
    };
    let one = submit(stores, "one", &of, "a@one.example", &[]).await;
    let two = submit(stores, "two", &of, "b@one.example", &[]).await;
    let three = submit(stores, "three", &of, "c@one.example", &[]).await;
    let done = submit(stores, "done", &of, "d@one.example", &[]).await;
    submit(stores, "fresh", &of, "e@one.example", &[]).await;
    submit(stores, "head", &of, "f@one.example g@two.example", &[]).await;
    submit(stores, "foreign", &other, "h@one.example", &[]).await;
    write(&one, State::Waiting, "mx.one", at(90)).await;
    write(&two, State::Waiting, "mx.one", at(60)).await;
    write(&three, State::Sending, "mx.one", at(0)).await;
    write(&done, State::Done, "mx.one", at(0)).await;

    let mut groups = again(|| stores.ledger.waiting(Some(&of))).await;
    groups.sort_by_key(|group| (group.domain.clone(), group.site.clone()));
    let shown: Vec<_> = groups
        .iter()
        .map(|group: &WaitingGroup| {
            let domain = group.domain.as_ref().map_or("", |domain| domain.as_str());
            (domain, group.site.as_deref(), group.count, group.sending, group.next_due)
        })
        .collect();
    let expected = [
        ("", None, 1, 0, at(0)),
        ("one.example", None, 1, 0, at(0)),
        ("one.example", Some("mx.one"), 3, 1, at(60)),
    ];
    assert_eq!(shown, expected);
    assert_eq!(groups[2].sample, two.row_key());
    assert_eq!((groups[2].oldest, groups[2].first_expiry), (make::T0, one.expires));

    let all = again(|| stores.ledger.waiting(None)).await;
    assert_eq!(all.iter().map(|group| group.count).sum::<u64>(), 6);
}
