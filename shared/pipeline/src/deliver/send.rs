//! One row over one line: its transactions, the second try that two verdicts allow, and the lease meanwhile.

use std::time::Duration;

use bytes::Bytes;
use posthaste_mail::{Address, Domain, Stage, Tenant};
use posthaste_policy::{Action, Category, Trouble};
use posthaste_smtp::{After, ContentKind, Manner, Outcome, Proceed, Report, SmtpUtf8, Transaction};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::dial::{Line, NoLine, Wish};
use super::outcome::{Answered, Failure, of_recipient};
use super::place::Place;
use super::return_path::{envelope_id, mail_from};
use super::tell::Heard;
use super::trunk::Work;
use super::turn::Leave;
use super::wired::Wired;
use super::{Inner, locked};
use crate::machine::{LEASE, Told};
use crate::meter::Happened;
use crate::row::{Content, Dot, Guarantee, HeaderCharset, Job, Realm, Row};
use crate::stores::StoreError;

/// Transactions for one row in one go: a hundred recipients at a host that takes ten at a time, and some to spare.
const TRANSACTIONS_MAX: usize = 16;
/// A lease is renewed when less than this is left of it, and every so often while a transaction lasts.
const RENEW_WITHIN: Duration = Duration::from_secs(40);
/// A recipient that is due this soon comes along: its own job would only be an instant later.
const DUE_SLACK: Duration = Duration::from_millis(500);

/// A row on its way.
struct Sending<'a> {
    wired: &'a Wired,
    work: &'a Work,
    row: Mutex<Row>,
    body: Bytes,
    deadline: Instant,
    /// What was heard that says something of the receiver.
    heard: std::sync::Mutex<Vec<Heard>>,
}

impl Inner {
    /// Sends what is due of a row. The row as last written, and what it came to; none if the row was lost to
    /// another job before anything was sent.
    pub(super) async fn send(
        &self,
        wired: &Wired,
        work: &Work,
        row: Row,
        line: &mut Option<Line>,
        leave: Leave,
    ) -> (Row, Option<Vec<Told>>, Vec<Heard>) {
        let mut row = row;
        row.site = Some(work.way.site.to_string());
        if row.lease.since(self.ambient.now()) < RENEW_WITHIN / 2 {
            match self.renew(&mut row, &work.job, Dot::Before).await {
                Ok(true) => {}
                Ok(false) => return (row, None, Vec::new()),
                // Nothing was sent: the lease lapses and the job comes again.
                Err(error) => {
                    tracing::warn!(%error, "a lease could not be renewed");
                    self.ambient.note(Happened::StoreFailed);
                    return (row, None, Vec::new());
                }
            }
        }
        let due = self.due_recipients(&row);
        let body = match self.stores.spool.open(&row.facts.spool).await {
            Ok(Some(body)) => body,
            Ok(None) => {
                let failure =
                    Failure::of_trouble(&Trouble::NoRoute, "the message is past its retention in the spool");
                let told = due.into_iter().map(|at| failure.told(at)).collect();
                return (row, Some(told), Vec::new());
            }
            Err(error) => {
                tracing::warn!(%error, "the spool could not be read; the message waits");
                self.ambient.note(Happened::StoreFailed);
                return (row, Some(Vec::new()), Vec::new());
            }
        };
        let has_token = carries_token(wired, &row);
        if has_token && let Err(error) = self.remember(&row.tenant).await {
            tracing::warn!(%error, "a tenant's tag could not be written down; the message waits");
            self.ambient.note(Happened::StoreFailed);
            return (row, Some(Vec::new()), Vec::new());
        }
        let deadline = self.instant(work.deadline);
        let heard = std::sync::Mutex::default();
        let sending = Sending { wired, work, row: Mutex::new(row), body, deadline, heard };
        let mut told = self.transactions(&sending, line, due, leave).await;
        self.second_try(&sending, line, &mut told).await;
        let heard = sending.heard.into_inner().unwrap_or_default();
        (sending.row.into_inner(), Some(told), heard)
    }

    /// Sees that whoever reads a token of this tenant's finds its name.
    async fn remember(&self, tenant: &Tenant) -> Result<(), StoreError> {
        /// Tenants remembered here; past it they are written again, which costs a write each.
        const TENANTS_MAX: usize = 10_000;
        if locked(&self.tenants).contains(tenant) {
            return Ok(());
        }
        self.stores.directory.remember(tenant).await?;
        let mut tenants = locked(&self.tenants);
        if tenants.len() >= TENANTS_MAX {
            tenants.clear();
        }
        tenants.insert(tenant.clone());
        Ok(())
    }

    /// The open recipients whose time has come.
    pub(super) fn due_recipients(&self, row: &Row) -> Vec<usize> {
        let horizon = self.ambient.now().plus(DUE_SLACK);
        row.open_recipients().filter(|(_, r)| r.due <= horizon).map(|(at, _)| at).collect()
    }

    async fn transactions(
        &self,
        sending: &Sending<'_>,
        line: &mut Option<Line>,
        due: Vec<usize>,
        leave: Leave,
    ) -> Vec<Told> {
        let mut leave = Some(leave);
        let way = &sending.work.way;
        let (mut left, mut told, mut reconnected) = (due, Vec::new(), false);
        for _ in 0..TRANSACTIONS_MAX {
            if left.is_empty() {
                break;
            }
            if let Some(spent) = line.take_if(|open| open.messages >= open.messages_max) {
                self.hang_up(spent).await;
            }
            if line.is_none() {
                match self.dial(sending.wired, way, sending.wish(None, Manner::Full), sending.deadline).await
                {
                    Ok(open) => *line = Some(open),
                    Err(NoLine::Failed(failure)) => {
                        sending.hear([Heard::of_failure(&failure, self.own_place(way))]);
                        told.extend(left.drain(..).map(|at| failure.told(at)));
                        break;
                    }
                    Err(NoLine::Later(_) | NoLine::OutOfTime) => break,
                }
            }
            let Some(open) = line.as_mut() else { break };
            let Ok(allowed) = self.allowed(&open.site, None).await else { break };
            let at_once = usize::try_from(allowed.recipients_per_message).unwrap_or(usize::MAX).max(1);
            let now: Vec<usize> = left.iter().copied().take(at_once).collect();
            let given = match leave.take() {
                Some(given) => Ok(given),
                None => {
                    let recipients = u32::try_from(now.len()).unwrap_or(u32::MAX);
                    self.another(&open.site, sending.work, recipients).await
                }
            };
            let Ok(given) = given else { break };
            if self.begin(&open.site, sending.work, &given).await.is_err() {
                break;
            }
            let report = self.transact(sending, open, &now).await;
            let used_up = report.recipients.iter().any(|o| matches!(o, Outcome::Reconnect { .. }));
            let again_later = sending.take_report(open, &now, &report, &mut told, &mut left);
            if report.connection != After::Reusable
                && let Some(gone) = line.take()
            {
                self.hang_up(gone).await;
            }
            if used_up && !reconnected {
                // Not counted, once: what it said of this connection says nothing of the message.
                reconnected = true;
                left.extend(withdraw(&mut told, Action::Reconnect));
                continue;
            }
            left.extend(again_later);
            if used_up {
                break;
            }
        }
        told
    }

    /// Whether a transaction for so many recipients may begin now; waits a little for it.
    async fn may_begin(&self, site: &Place, work: &Work, recipients: usize) -> bool {
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        match self.another(site, work, recipients).await {
            Ok(leave) => self.begin(site, work, &leave).await.is_ok(),
            Err(_) => false,
        }
    }

    async fn transact(&self, sending: &Sending<'_>, line: &mut Line, recipients: &[usize]) -> Report {
        let (transaction, guarantee) = {
            let row = sending.row.lock().await;
            let addresses: Vec<Address> =
                recipients.iter().map(|at| row.recipients[*at].address.clone()).collect();
            let domain = bounces_to(sending.wired, &row);
            let transaction = Transaction {
                mail_from: mail_from(&row, domain, &self.return_path_key),
                recipients: addresses,
                prefix: Bytes::new(),
                body: sending.body.clone(),
                content: match row.facts.content {
                    Content::SevenBit => ContentKind::SevenBit,
                    Content::EightBit => ContentKind::EightBit,
                },
                xid: (row.facts.realm == Realm::Sandbox).then(|| envelope_id(&row, &self.return_path_key)),
                tries: recipients.iter().map(|at| row.recipients[*at].asked_for()).collect(),
                smtputf8: match row.facts.header {
                    HeaderCharset::Ascii => SmtpUtf8::NotNeeded,
                    HeaderCharset::Utf8 => SmtpUtf8::Needed,
                },
            };
            (transaction, row.facts.guarantee)
        };
        line.messages += 1;
        let job = &sending.work.job;
        let before_dot = self.before_dot(&sending.row, job, guarantee);
        let dialogue = line.connection.transact(&transaction, sending.deadline, before_dot);
        tokio::pin!(dialogue);
        let mut next_renewal = Instant::now() + LEASE - RENEW_WITHIN;
        loop {
            tokio::select! {
                biased;
                report = &mut dialogue => return report,
                () = tokio::time::sleep_until(next_renewal) => {
                    // Whoever has the row locked is the dialogue itself, just before the dot: it renews there. A
                    // lease that cannot be renewed is found out before the dot; after it, at the settlement.
                    if let Ok(mut row) = sending.row.try_lock()
                        && let Err(error) = self.renew(&mut row, job, Dot::Before).await
                    {
                        tracing::warn!(%error, "a lease could not be renewed");
                    }
                    next_renewal = Instant::now() + LEASE - RENEW_WITHIN;
                }
            }
        }
    }

    /// Just before the message's octets: the row is still ours, and `at-most-once` has written that the dot is near.
    async fn before_dot(&self, row: &Mutex<Row>, job: &Job, guarantee: Guarantee) -> Proceed {
        let mut row = row.lock().await;
        match self.claims.is_held(&row).await {
            Ok(false) => {}
            // The job comes again, and finds the hold.
            Ok(true) => return Proceed::Withhold,
            Err(error) => tracing::warn!(%error, "holds could not be read before the message's octets"),
        }
        let lease_holds = row.lease.since(self.ambient.now()) > Duration::from_secs(5);
        let dot = match guarantee {
            Guarantee::AtLeastOnce if lease_holds => return Proceed::Send,
            Guarantee::AtLeastOnce => Dot::Before,
            Guarantee::AtMostOnce => Dot::Near,
        };
        match self.renew(&mut row, job, dot).await {
            Ok(true) => Proceed::Send,
            Ok(false) => Proceed::Withhold,
            Err(error) => {
                tracing::warn!(%error, "the dot could not be written down; the message waits");
                self.ambient.note(Happened::StoreFailed);
                Proceed::Withhold
            }
        }
    }

    /// The two refusals that one other way may answer: a host that does not relay (another host), a host that does
    /// not understand (plainer words).
    async fn second_try(&self, sending: &Sending<'_>, line: &mut Option<Line>, told: &mut Vec<Told>) {
        let relay =
            |t: &Told| t.verdict.category == Category::RelayDenied && t.verdict.action == Action::Bounce;
        let protocol = |t: &Told| {
            t.verdict.category == Category::Protocol
                && t.verdict.action == Action::Bounce
                && t.reply.is_some()
                && t.detail.is_none()
        };
        let wish = if let Some(t) = told.iter().find(|t| relay(t)) {
            sending.wish(t.ip, Manner::Full)
        } else if told.iter().any(protocol) {
            sending.wish(None, Manner::Plain)
        } else {
            return;
        };
        // The seat this try needs may be the one the line has.
        if line.as_ref().is_some_and(|open| open.seat.is_some())
            && let Some(open) = line.take()
        {
            self.hang_up(open).await;
        }
        let Ok(mut other) = self.dial(sending.wired, &sending.work.way, wish, sending.deadline).await else {
            return;
        };
        let is_again = |t: &Told| relay(t) || protocol(t);
        let recipients: Vec<usize> = told.iter().filter(|t| is_again(t)).map(|t| t.recipient).collect();
        if !self.may_begin(&other.site, sending.work, recipients.len()).await {
            return self.hang_up(other).await;
        }
        let (again, mut rest): (Vec<Told>, Vec<Told>) = told.drain(..).partition(is_again);
        let report = self.transact(sending, &mut other, &recipients).await;
        let mut left = recipients.clone();
        sending.take_report(&other, &recipients, &report, &mut rest, &mut left);
        // Who got no second answer keeps the first.
        rest.extend(again.into_iter().filter(|t| left.contains(&t.recipient)));
        if wish.manner == Manner::Plain {
            self.remember_habits(other.connection.peer().addr, other.connection.habits());
        }
        self.hang_up(other).await;
        *told = rest;
    }
}

impl Sending<'_> {
    fn wish(&self, not: Option<std::net::IpAddr>, manner: Manner) -> Wish {
        Wish { not, manner, lane: self.work.job.lane, probe: self.work.probe }
    }

    fn hear(&self, heard: impl IntoIterator<Item = Heard>) {
        locked(&self.heard).extend(heard);
    }

    /// Adds what a transaction came to; takes those it is final for out of `left`, and gives back those who are asked
    /// again in the next transaction.
    fn take_report(
        &self,
        line: &Line,
        asked: &[usize],
        report: &Report,
        told: &mut Vec<Told>,
        left: &mut Vec<usize>,
    ) -> Vec<usize> {
        let by =
            Answered { host: &line.host, ip: line.ip, tls: line.connection.tls(), recipients: asked.len() };
        let (mut again, mut accepted) = (Vec::new(), 0);
        for (nth, (at, outcome)) in asked.iter().zip(&report.recipients).enumerate() {
            left.retain(|other| other != at);
            let of_one = of_recipient(*at, nth, outcome, &by, &self.wired.classifier);
            if let Some(of_one) = &of_one {
                self.hear(Heard::of_told(of_one, line, accepted));
            }
            if matches!(outcome, Outcome::NextTransaction { .. }) && nth > 0 {
                again.push(*at);
                continue;
            }
            accepted += u32::from(!matches!(outcome, Outcome::Refused { stage: Stage::Rcpt, .. }));
            told.extend(of_one);
        }
        again
    }
}

/// Whether a token goes along: in the return path, or to the sandbox.
fn carries_token(wired: &Wired, row: &Row) -> bool {
    row.facts.realm == Realm::Sandbox || bounces_to(wired, row).is_some()
}

/// The domain of MAIL FROM: the sender's own, else the policy's.
fn bounces_to<'a>(wired: &'a Wired, row: &'a Row) -> Option<&'a Domain> {
    row.facts.bounces.as_ref().or(wired.policy.mta.return_path_domain.as_ref())
}

/// Takes back what was told with this action: these recipients are tried again.
fn withdraw(told: &mut Vec<Told>, action: Action) -> Vec<usize> {
    let withdrawn = told.iter().filter(|t| t.verdict.action == action).map(|t| t.recipient).collect();
    told.retain(|t| t.verdict.action != action);
    withdrawn
}
