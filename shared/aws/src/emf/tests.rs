use std::time::Duration;

use posthaste_mail::Lane;
use posthaste_pipeline::meter::{Happened, Meter, Wait};

use super::*;
use crate::counts::Counts;

const INVOCATION: Invocation<'_> =
    Invocation { stack: "posthaste", function: "deliver", at: Timestamp(1_764_000_000_000) };

fn accepted(lane: Lane, recipients: usize) -> Happened<'static> {
    Happened::Accepted { lane, recipients }
}

fn attempted(site: &str, recipients: usize) -> Happened<'_> {
    Happened::Attempted { lane: Lane::Bulk, site: Some(site), recipients }
}

/// The lines that these come to, read back; each has been held to the format's rules.
fn written(happened: &[Happened<'_>], standing: Option<&Standing>) -> Vec<Value> {
    let counts = Counts::default();
    happened.iter().for_each(|one| counts.note(*one));
    let lines = lines(&INVOCATION, &counts.take(), &Tally::default(), standing);
    lines.iter().map(|line| obeys(line)).collect()
}

/// The rules of the format, as its specification has them: what is referred to is there and of its type, nothing is
/// longer than it may be, metadata has no member of its own making.
fn obeys(line: &str) -> Value {
    const OCTETS_MAX: usize = 1 << 20;
    assert!(line.len() <= OCTETS_MAX && !line.contains('\n'));
    let root: Value = serde_json::from_str(line).unwrap();
    let metadata = root["_aws"].as_object().unwrap();
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["CloudWatchMetrics", "Timestamp"]);
    assert!(metadata["Timestamp"].is_u64());
    let directives = metadata["CloudWatchMetrics"].as_array().unwrap();
    let mut defined = 0;
    for directive in directives {
        assert_eq!(directive["Namespace"], NAMESPACE);
        for dimension in
            directive["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap())
        {
            let value = root[dimension.as_str().unwrap()].as_str().unwrap();
            assert!(!value.is_empty() && value.len() <= 1_024 && value.is_ascii());
        }
        for metric in directive["Metrics"].as_array().unwrap() {
            defined += 1;
            assert!(["Count", "Milliseconds", "Seconds"].contains(&metric["Unit"].as_str().unwrap()));
            match &root[metric["Name"].as_str().unwrap()] {
                Value::Array(values) => assert!(values.len() <= 100 && values.iter().all(Value::is_u64)),
                value => assert!(value.is_u64(), "{metric} has {value}"),
            }
        }
    }
    assert!(defined > 0 && defined <= 100);
    root
}

fn dimensions(line: &Value) -> Vec<(String, Vec<String>)> {
    let names = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    directives
        .iter()
        .map(|directive| {
            let metrics: Vec<_> =
                directive["Metrics"].as_array().unwrap().iter().map(|m| m["Name"].clone()).collect();
            (names(&directive["Dimensions"][0]).join(","), names(&Value::Array(metrics)))
        })
        .collect()
}

#[test]
fn an_invocation_of_one_lane_is_one_line() {
    let lines = written(&[accepted(Lane::Transactional, 2), accepted(Lane::Transactional, 1)], None);
    let expected = json!({
        "_aws": {
            "Timestamp": 1_764_000_000_000_u64,
            "CloudWatchMetrics": [
                {"Namespace": "Posthaste", "Dimensions": [["Stack"]], "Metrics": [{"Name": "Accepted", "Unit": "Count"}]},
                {"Namespace": "Posthaste", "Dimensions": [["Stack", "Lane"]],
                 "Metrics": [{"Name": "Accepted", "Unit": "Count"}]},
            ],
        },
        "Stack": "posthaste", "Function": "deliver", "Lane": "transactional", "Accepted": 3,
    });
    assert_eq!(lines, [expected]);
}

#[test]
fn further_lanes_are_further_lines_and_the_whole_is_said_once() {
    let lines = written(&[accepted(Lane::Transactional, 2), accepted(Lane::Bulk, 5)], None);
    let said: Vec<_> = lines.iter().map(|line| (line["Lane"].as_str(), line["Accepted"].as_u64())).collect();
    assert_eq!(said, [(None, Some(7)), (Some("transactional"), Some(2)), (Some("bulk"), Some(5))]);
    let sets: Vec<String> = lines.iter().flat_map(dimensions).map(|(set, _)| set).collect();
    assert_eq!(sets, ["Stack", "Stack,Lane", "Stack,Lane"]);
}

#[test]
fn a_category_is_said_of_what_is_split_by_it_only() {
    let [line] = &written(&[Happened::Paced { lane: Lane::Bulk }, attempted("a.example", 1)], None)[..]
    else {
        panic!("one lane, one category, one line");
    };
    assert_eq!(line["Category"], "pacer");
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = [
        ("Stack".to_owned(), own(&["Attempts", "Throttled"])),
        ("Stack,Lane".to_owned(), own(&["Throttled"])),
        ("Stack,Category".to_owned(), own(&["Throttled"])),
    ];
    assert_eq!(dimensions(line), expected);
}

#[test]
fn the_busiest_sites_are_named_and_are_no_dimension() {
    let sites: Vec<String> = (1..=9).map(|n| format!("site{n}.example")).collect();
    let happened: Vec<_> = sites.iter().zip(1..).map(|(site, n)| attempted(site, n)).collect();
    let lines = written(&happened, None);
    let named: Vec<&String> = lines[0]["Sites"].as_object().unwrap().keys().collect();
    assert_eq!(named, ["site5.example", "site6.example", "site7.example", "site8.example", "site9.example"]);
}

#[test]
fn a_hundred_values_are_the_most_of_a_metric() {
    let waits: Vec<_> = (0..5_000)
        .map(|ms| Happened::Waited { on: Wait::Connect, took: Duration::from_millis(ms) })
        .collect();
    let lines = written(&waits, None);
    assert!(lines[0]["ConnectTime"].as_array().unwrap().len() > 50);
}

#[test]
fn levels_are_said_when_they_are_zero_and_counts_are_not() {
    let lines = written(&[], Some(&Standing::default()));
    assert_eq!(lines[0]["Waiting"], 0);
    assert_eq!(lines[0]["DeadLetters"], 0);
    assert!(lines[0].get("Delivered").is_none());
}

#[test]
fn an_invocation_in_which_nothing_happened_says_nothing() {
    assert!(written(&[], None).is_empty());
}
