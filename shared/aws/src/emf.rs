//! CloudWatch's embedded metric format: counts as lines of a log, out of which CloudWatch makes metrics. Pure: counts
//! in, text out; no clock, no output, no tenant, domain or address as a dimension.
//!
//! An invocation is one line as long as all of it was of one lane and one category. A line names one value of a
//! dimension, so each further lane or category is a line more; lanes and categories are few and fixed, and a metric
//! costs 30 cents a month, so only what is watched by lane or category is split by it, and nothing that is zero is said.
//!
//! Limits of the format: 100 metrics a line, 100 values a metric, 1 MB a line. There are 21 metrics, module `counts`
//! keeps 100 values, and nothing else in a line grows.

use std::collections::BTreeMap;

use posthaste_mail::Timestamp;
use serde_json::{Map, Value, json};

use crate::calls::Tally;
use crate::counts::{Counted, Samples, Standing, Sums};

/// Under which CloudWatch keeps them.
pub const NAMESPACE: &str = "Posthaste";
/// Metrics that are split by lane: is this lane's mail coming, leaving, and how fast.
const BY_LANE: [&str; 5] = ["Accepted", "Deferred", "Delivered", "Throttled", "TimeToDelivery"];
/// Metrics that are split by category: why mail does not leave.
const BY_CATEGORY: [&str; 3] = ["Bounced", "Deferred", "Throttled"];
/// Sites named in a line, the busiest first.
const SITES_SHOWN: usize = 5;

/// Whose invocation it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invocation<'a> {
    /// The deployment.
    pub stack: &'a str,
    /// The function, a property of the line and no dimension.
    pub function: &'a str,
    /// When it ended.
    pub at: Timestamp,
}

/// The lines of one invocation; none where nothing was counted.
pub fn lines(
    invocation: &Invocation<'_>,
    counted: &Counted,
    calls: &Tally,
    standing: Option<&Standing>,
) -> Vec<String> {
    let mut first = Line::new(invocation, &["Stack"]);
    first.sums(&counted.all, |_| true);
    for (metric, samples) in &counted.waits {
        first.times(metric, samples);
    }
    first.calls(calls);
    if let Some(standing) = standing {
        first.number("Waiting", "Count", standing.waiting);
        first.number("LedgerAge", "Seconds", standing.age_s);
        first.number("DeadLetters", "Count", standing.dead_letters);
    }
    first.sites(&counted.sites);
    let mut more = Vec::new();
    let lanes: Vec<_> = counted.lanes.iter().map(|(lane, sums)| (lane.as_str(), sums)).collect();
    let categories: Vec<_> = counted.categories.iter().map(|(category, sums)| (*category, sums)).collect();
    for (dimension, all, split) in
        [("Lane", lanes, BY_LANE.as_slice()), ("Category", categories, BY_CATEGORY.as_slice())]
    {
        if let [(value, sums)] = all[..]
            && is_all(sums, &counted.all, split)
        {
            first.also(dimension, value, split);
            continue;
        }
        for (value, sums) in all {
            let mut line = Line::new(invocation, &["Stack", dimension]);
            line.property(dimension, value);
            line.sums(sums, |metric| split.contains(&metric));
            more.push(line);
        }
    }
    std::iter::once(first).chain(more).filter_map(Line::text).collect()
}

/// Whether what is split was all of it.
fn is_all(some: &Sums, all: &Sums, split: &[&str]) -> bool {
    split.iter().all(|metric| some.numbers.get(metric) == all.numbers.get(metric))
        && (!split.contains(&"TimeToDelivery") || some.delivered_in == all.delivered_in)
}

/// One line as it grows.
struct Line {
    at: Timestamp,
    dimensions: Vec<String>,
    /// Names and units.
    metrics: Vec<(&'static str, &'static str)>,
    /// Further dimensions of this line, each with the metrics that are split by it.
    also: Vec<(String, Vec<&'static str>)>,
    root: Map<String, Value>,
}

impl Line {
    fn new(invocation: &Invocation<'_>, dimensions: &[&str]) -> Self {
        let root = Map::from_iter([
            ("Stack".to_owned(), json!(invocation.stack)),
            ("Function".to_owned(), json!(invocation.function)),
        ]);
        let dimensions = dimensions.iter().map(|name| (*name).to_owned()).collect();
        Self { at: invocation.at, dimensions, metrics: Vec::new(), also: Vec::new(), root }
    }

    fn property(&mut self, name: &str, value: impl Into<Value>) {
        self.root.insert(name.to_owned(), value.into());
    }

    fn metric(&mut self, name: &'static str, unit: &'static str, value: Value) {
        self.metrics.push((name, unit));
        self.property(name, value);
    }

    /// A level: zero is worth saying.
    fn number(&mut self, name: &'static str, unit: &'static str, value: u64) {
        self.metric(name, unit, json!(value));
    }

    fn times(&mut self, name: &'static str, samples: &Samples) {
        match samples.values() {
            [] => {}
            [one] => self.metric(name, "Milliseconds", json!(one)),
            many => self.metric(name, "Milliseconds", json!(many)),
        }
    }

    fn sums(&mut self, sums: &Sums, wanted: impl Fn(&str) -> bool) {
        for (metric, number) in sums.numbers.iter().filter(|(metric, _)| wanted(metric)) {
            self.number(metric, "Count", *number);
        }
        if wanted("TimeToDelivery") {
            self.times("TimeToDelivery", &sums.delivered_in);
        }
    }

    fn calls(&mut self, calls: &Tally) {
        let total = calls.total();
        if total.requests == 0 {
            return;
        }
        self.number("AwsCalls", "Count", total.requests);
        if total.throttles > 0 {
            self.number("AwsThrottles", "Count", total.throttles);
        }
        let mut services: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for (service, operation, count) in calls.iter() {
            services.entry(service).or_default().insert(operation, count.requests);
        }
        self.property("Calls", json!(services));
        self.property("Units", json!({"Writes": total.writes, "Reads": total.reads}));
    }

    fn sites(&mut self, sites: &BTreeMap<String, u64>) {
        let mut busiest: Vec<(&String, &u64)> = sites.iter().collect();
        busiest.sort_by_key(|(_, tried)| std::cmp::Reverse(**tried));
        busiest.truncate(SITES_SHOWN);
        if !busiest.is_empty() {
            self.property("Sites", json!(busiest.into_iter().collect::<BTreeMap<_, _>>()));
        }
    }

    /// What of this line is split counts for this value of a dimension as well.
    fn also(&mut self, dimension: &str, value: &str, split: &[&'static str]) {
        let said = split.iter().filter(|metric| self.metrics.iter().any(|(name, _)| name == *metric));
        let said: Vec<&'static str> = said.copied().collect();
        if !said.is_empty() {
            self.property(dimension, value);
            self.also.push((dimension.to_owned(), said));
        }
    }

    fn text(mut self) -> Option<String> {
        if self.metrics.is_empty() {
            return None;
        }
        let defined = |(name, unit): &(&str, &str)| json!({"Name": name, "Unit": unit});
        let directive = |dimensions: &[&str], metrics: Vec<Value>| json!({"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics});
        let own: Vec<&str> = self.dimensions.iter().map(String::as_str).collect();
        let mut directives = vec![directive(&own, self.metrics.iter().map(defined).collect())];
        for (dimension, said) in &self.also {
            let metrics = self.metrics.iter().filter(|(name, _)| said.contains(name)).map(defined).collect();
            directives.push(directive(&["Stack", dimension], metrics));
        }
        let metadata = json!({"Timestamp": self.at.0, "CloudWatchMetrics": directives});
        self.root.insert("_aws".to_owned(), metadata);
        serde_json::to_string(&self.root).ok()
    }
}

#[cfg(test)]
mod tests;
