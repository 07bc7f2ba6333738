//! Lists beside the ledger: suppressions, events, dead letters, holds and secrets.

use posthaste_mail::{JobId, Lane, MessageId, Tenant};
use posthaste_pipeline::effect::{DeadLetter, Effect, Event};
use posthaste_pipeline::row::Realm;
use posthaste_pipeline::stores::{Hold, HoldOn};

use super::make::{self, address, at, plain, submission, suppression, tenant};
use super::{Subject, accept_new, again, perform};

/// The suppression list is paged by address, and each tenant's is its own.
pub async fn suppressions_are_listed_by_address(subject: &Subject) {
    let stores = &subject.stores;
    let (of, other) = (Tenant::default_tenant(), tenant("other"));
    for who in
        ["dora@example.net", "ann@example.net", "Bob@example.net", "carl@example.net", "żółw@example.net"]
    {
        again(|| stores.suppressions.put(suppression(&of, who, None))).await;
    }
    let mut bulk = suppression(&of, "bob@example.net", None);
    bulk.lane = Some(Lane::Bulk);
    again(|| stores.suppressions.put(bulk.clone())).await;
    let mut sandbox = suppression(&of, "carl@example.net", None);
    sandbox.realm = Realm::Sandbox;
    again(|| stores.suppressions.put(sandbox.clone())).await;
    again(|| stores.suppressions.put(suppression(&other, "ann@example.net", None))).await;

    let list = async |of: &Tenant, after: Option<&str>, limit: usize| -> Vec<String> {
        let page = again(|| stores.suppressions.list(of, after, limit)).await;
        page.iter().map(|entry| entry.address.folded()).collect()
    };
    let check = async |who: &str, expected: usize| {
        let addresses = [address("x@example.net"), address(who)];
        let entries = again(|| stores.suppressions.check(&of, &addresses)).await;
        assert_eq!(entries.iter().map(Vec::len).collect::<Vec<_>>(), [0, expected], "{who}");
    };
    // Pages end between mailboxes, so one may be a little longer than asked for.
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = list(&of, after.as_deref(), 2).await;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page);
    }
    let expected =
        ["ann", "bob", "bob", "carl", "carl", "dora", "żółw"].map(|name| format!("{name}@example.net"));
    assert_eq!(seen, expected);
    check("BOB@example.net", 2).await;

    assert!(again(|| stores.suppressions.clear_sandbox(&of)).await <= 1);
    check("carl@example.net", 1).await;
    let bob = address("Bob@Example.net");
    again(|| stores.suppressions.remove(&of, &bob)).await;
    check("bob@example.net", 0).await;
    assert_eq!(again(|| stores.suppressions.remove(&of, &bob)).await, 0);
    assert_eq!(list(&other, None, 10).await, ["ann@example.net"]);
}

/// Events come in the order they were told, after a cursor, each tenant its own.
pub async fn events_come_after_a_cursor(subject: &Subject) {
    let stores = &subject.stores;
    let (of, other) = (Tenant::default_tenant(), tenant("other"));
    assert_eq!(again(|| stores.feed.latest(&of)).await, 0);
    let (ours, theirs) =
        (plain("ours"), make::row("theirs", &other, make::facts("theirs"), "ann@example.net"));
    for row in [&ours, &theirs] {
        accept_new(stores, submission(row.clone())).await;
    }
    let mut told: Vec<Event> = Vec::new();
    for n in 0..10 {
        let about = if n % 3 == 0 { &theirs } else { &ours };
        let event = make::event(&format!("event {n}"), about, at(n));
        perform(stores, vec![Effect::Event(Box::new(event.clone()))]).await;
        told.push(event);
    }
    for (of, row) in [(&of, &ours), (&other, &theirs)] {
        let expected: Vec<&Event> = told.iter().filter(|event| event.tenant == *of).collect();
        let (mut seen, mut cursor) = (Vec::new(), 0);
        loop {
            let page = again(|| stores.feed.after(of, cursor, 2)).await;
            let Some((last, _)) = page.last() else { break };
            assert!(page.iter().all(|(at, _)| *at > cursor));
            cursor = *last;
            seen.extend(page.into_iter().map(|(_, event)| event));
        }
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected);
        assert_eq!(again(|| stores.feed.latest(of)).await, cursor);
        assert_eq!(again(|| stores.feed.of_message(of, &row.key.message)).await, seen);
    }
    assert_eq!(again(|| stores.feed.of_message(&of, &theirs.key.message)).await, []);
}

/// Dead letters come oldest first and are taken off one by one; pages stay put meanwhile.
pub async fn dead_letters_are_taken_off_one_by_one(subject: &Subject) {
    let stores = &subject.stores;
    let letters: Vec<DeadLetter> = ["one", "two", "three", "four"].map(make::letter).to_vec();
    for letter in &letters {
        perform(stores, vec![Effect::DeadLetter(letter.clone())]).await;
    }
    let list =
        async |after: Option<&JobId>, limit: usize| again(|| stores.dead_letters.list(after, limit)).await;
    assert_eq!(list(None, 2).await, letters[..2]);
    assert_eq!(list(Some(&letters[1].job), 10).await, letters[2..]);
    again(|| stores.dead_letters.remove(&letters[1].job)).await;
    assert_eq!(list(None, 10).await, [&letters[..1], &letters[2..]].concat());
    again(|| stores.dead_letters.remove(&letters[1].job)).await;
}

/// Holds are put, replaced and taken away.
pub async fn holds_are_put_and_taken_away(subject: &Subject) {
    let stores = &subject.stores;
    let hold = |id: &str, what: HoldOn| Hold::new(id.to_owned(), None, what, at(60));
    let holds = async || {
        let mut holds = again(|| stores.controls.holds()).await;
        holds.sort_by(|a, b| a.id.cmp(&b.id));
        holds
    };
    assert_eq!(holds().await, []);
    let one = hold("one", HoldOn::Tag("release:v42".to_owned()));
    let two = hold("two", HoldOn::Message(MessageId::derived(&[b"m"])));
    for hold in [&one, &two] {
        again(|| stores.controls.put_hold(hold.clone())).await;
    }
    assert_eq!(holds().await, [one.clone(), two.clone()]);
    let one = Hold { tenant: Some(tenant("other")), ..hold("one", HoldOn::Lane(Lane::Bulk)) };
    again(|| stores.controls.put_hold(one.clone())).await;
    assert_eq!(holds().await, [one.clone(), two.clone()]);
    again(|| stores.controls.remove_hold("two")).await;
    assert_eq!(holds().await, [one]);
    assert_eq!(again(|| stores.controls.remove_hold("two")).await, None);
}

/// A secret is made once, whoever asks first.
pub async fn a_secret_is_made_once(subject: &Subject) {
    let stores = &subject.stores;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..8 {
        let stores = stores.clone();
        asking.spawn(async move { again(|| stores.controls.secret("return-path", [n; 32])).await });
    }
    let known = asking.join_all().await;
    assert!(known.iter().all(|secret| *secret == known[0]), "{known:?}");
    assert_eq!(again(|| stores.controls.secret("return-path", [99; 32])).await, known[0]);
    assert_eq!(again(|| stores.controls.secret("other", [99; 32])).await, [99; 32]);
}
