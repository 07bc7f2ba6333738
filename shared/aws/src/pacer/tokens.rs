//! Tokens: one conditional write a chunk. Which branch of the arithmetic it takes is guessed from the time last seen;
//! where the guess was wrong the item says the right one.

use posthaste_pipeline::pacer::PaceKey;
use posthaste_pipeline::stores::StoreError;
use posthaste_policy::pacing::book::{TokenAsk, Tokens};
use posthaste_policy::pacing::{Answer, Branch, Grant, Micros, ask};

use super::{micros, n, now_key};
use crate::item::{self, Item};
use crate::table::Update;
use crate::{Aws, schema};

/// Guesses at one chunk: past it others take all there is.
const GUESSES_MAX: u32 = 6;

impl Aws {
    pub(super) async fn take_tokens(&self, key: &PaceKey, wish: &TokenAsk) -> Result<Tokens, StoreError> {
        let mut known = self.seen().get(key);
        for _ in 0..GUESSES_MAX {
            let (tat, branch, grant) = match ask(known, wish.now, wish.tokens, &wish.pace) {
                // What is handed out only rises: nobody has to be asked.
                Answer::Later(at) => return Ok(Tokens::Later(at)),
                Answer::Granted(tat, branch, grant) => (tat, branch, grant),
            };
            match self.write_grant(key, wish, tat, branch, grant).await? {
                Ok(granted) => return Ok(granted),
                Err(there) => {
                    let there = there.unwrap_or_default();
                    if item::integer(&there, schema::EPOCH).is_ok_and(|epoch: u64| epoch > wish.epoch) {
                        return Ok(Tokens::Stale);
                    }
                    known = micros(&there, schema::TAT);
                    self.seen().put(key, known);
                }
            }
        }
        Ok(Tokens::Later(wish.now.plus(wish.pace.interval_us.max(1))))
    }

    /// The item that is there instead where the guess was wrong.
    async fn write_grant(
        &self,
        key: &PaceKey,
        wish: &TokenAsk,
        tat: Micros,
        branch: Branch,
        grant: Grant,
    ) -> Result<Result<Tokens, Option<Item>>, StoreError> {
        let cost = wish.pace.interval_us.saturating_mul(i64::from(wish.tokens));
        let slack = wish.pace.interval_us.saturating_mul(i64::from(wish.pace.burst.max(1)) - 1);
        let reach = i64::try_from(wish.pace.reach.as_micros()).unwrap_or(i64::MAX);
        let idle = wish.now.plus(-slack);
        let update = match branch {
            Branch::New => Update::new("SET #t = :t, #e = :e, #g = :g")
                .when("attribute_not_exists(#t) AND (attribute_not_exists(#e) OR #e <= :e)")
                .value(":t", n(tat.0)),
            Branch::Idle => Update::new("SET #t = :t, #e = :e, #g = :g")
                .when("#t < :idle AND (attribute_not_exists(#e) OR #e <= :e)")
                .value(":t", n(tat.0))
                .value(":idle", n(idle.0)),
            Branch::Ahead => Update::new("SET #t = #t + :c, #e = :e, #g = :g")
                .when("#t BETWEEN :idle AND :limit AND (attribute_not_exists(#e) OR #e <= :e)")
                .value(":c", n(cost))
                .value(":idle", n(idle.0))
                .value(":limit", n(wish.now.plus(reach).0)),
        };
        let update = update
            .name("#t", schema::TAT)
            .name("#e", schema::EPOCH)
            .name("#g", schema::GONE_AT)
            .value(":e", n(wish.epoch))
            .value(":g", self.gone_at());
        let there = match self.table().update(&now_key(key)?, update, "taking tokens").await? {
            Ok(there) => there,
            Err(instead) => return Ok(Err(instead)),
        };
        let now_at = micros(&there, schema::TAT).unwrap_or(tat);
        self.seen().put(key, Some(now_at));
        let wanted = match micros(&there, schema::WANTED) {
            Some(at) if self.hears_of(key, at).await? => Some(at),
            _ => None,
        };
        Ok(Ok(Tokens::Granted { grant: Grant { from: now_at.plus(-cost), ..grant }, wanted }))
    }

    /// Whether it is this one that makes room for who wants a connection: one does, not everybody.
    async fn hears_of(&self, key: &PaceKey, at: Micros) -> Result<bool, StoreError> {
        let update = Update::new("REMOVE #w").when("#w = :w").name("#w", schema::WANTED).value(":w", n(at.0));
        self.table().update(&now_key(key)?, update, "making room").await.map(|heard| heard.is_ok())
    }
}
