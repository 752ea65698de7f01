//! The shipped tables against what real proxies sent.

use std::collections::{BTreeMap, BTreeSet};

use envoy_exporter::config::Overrides;
use envoy_exporter::family::FamilyType;
use envoy_exporter::mapping::{FamilyBounds, Mapped, Mapping, Source, Verdict};
use envoy_exporter::snapshot::DropReason;

use crate::support::{poll_dir, testdata};

#[test]
fn the_shipped_tables_compile() {
    let mapping = Mapping::native().expect("the tables compile");
    assert!(
        mapping.catalogue().len() > 1500,
        "{}",
        mapping.catalogue().len()
    );
}

#[test]
fn help_is_one_sentence_of_plain_text() {
    let mapping = Mapping::native().unwrap();
    for entry in mapping.catalogue().iter() {
        let help = &entry.help;
        assert!(
            help.ends_with('.') && help.is_ascii(),
            "{}: {help}",
            entry.name
        );
        assert!((5..=160).contains(&help.len()), "{}: {help}", entry.name);
        let starts = help.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
        assert!(
            starts || help.starts_with("gRPC "),
            "{}: {help}",
            entry.name
        );
    }
}

#[tokio::test]
async fn every_stat_of_a_real_proxy_is_described() {
    for capture in ["demo", "captures/1.40.0/idle"] {
        let polled = poll_dir(&testdata(capture), &Overrides::default())
            .await
            .unwrap();
        let report = polled.snapshot.report();
        assert_eq!(report.undescribed, 0, "{capture}");
        for reason in DropReason::ALL {
            assert_eq!(report.dropped(reason), 0, "{capture}: {}", reason.as_str());
        }
    }
}

/// What the first users count on: each of these is exported, described, of this type.
#[test]
fn the_cluster_stats_of_the_first_users_are_described() {
    let mapping = Mapping::native().unwrap();
    let list = std::fs::read_to_string(testdata("first_users.txt")).unwrap();
    let stats: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(stats.len() > 100);
    for line in stats {
        let (stat, stat_type) = line.split_once(' ').unwrap();
        let entry = mapping.catalogue().find(&format!("cluster.{stat}"));
        let entry = entry.unwrap_or_else(|| panic!("{stat} has no entry"));
        assert_eq!(entry.stat_type.as_str(), stat_type, "{stat}");
    }
}

/// What `promtool check metrics` says of names, for every entry and not only for those of the
/// captures.
#[test]
fn standard_names_follow_prometheus_rules() {
    let mapping = standard();
    let abbreviations = [
        "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d",
    ];
    let units = [
        "milliseconds",
        "microseconds",
        "minutes",
        "hours",
        "days",
        "kilobytes",
        "percent",
    ];
    let types = ["counter", "gauge", "histogram", "summary"];
    for (entry, mapped) in described(&mapping) {
        let name = &mapped.family;
        let words: Vec<&str> = name.split('_').collect();
        let last = *words.last().unwrap();
        let is = |family_type| mapped.family_type == family_type;
        assert_eq!(last == "total", is(FamilyType::Counter), "{entry}: {name}");
        assert!(
            is(FamilyType::Histogram) || !["count", "sum", "bucket"].contains(&last),
            "{entry}: {name}"
        );
        for word in &words {
            assert!(
                !abbreviations.contains(word) && !units.contains(word),
                "{entry}: {name}"
            );
            assert!(!types.contains(word), "{entry}: {name}");
        }
        assert!(
            !name.contains("__") && name.to_lowercase() == *name,
            "{entry}: {name}"
        );
        for (at, word) in words.iter().enumerate() {
            let is_unit = ["seconds", "bytes", "ratio"].contains(word);
            assert!(
                !is_unit || !words[at + 1..].contains(word),
                "{entry}: {name}"
            );
        }
    }
}

/// A sum over a family must mean something: entries of one family have the same labels.
#[test]
fn a_standard_family_holds_no_total_beside_its_parts() {
    let mapping = standard();
    let mut families: BTreeMap<String, BTreeMap<Vec<String>, String>> = BTreeMap::new();
    for (entry, mapped) in described(&mapping) {
        // These tell filters and configurations apart, and are left out where there is one alone.
        let instances = [
            "stat_prefix",
            "filter",
            "rules",
            "route_config",
            "scoped_route_config",
        ];
        let labels = mapped.labels.iter().map(|(label, _)| label.to_owned());
        let labels = labels.filter(|label| !instances.contains(&label.as_str()));
        let labels: Vec<_> = labels.collect();
        families
            .entry(mapped.family)
            .or_default()
            .insert(labels, entry);
    }
    families.retain(|_, entries| entries.len() > 1);
    assert!(families.is_empty(), "{families:#?}");
}

/// Two entries that give one series under different names are one stat, or a mistake.
#[test]
fn standard_names_are_those_of_one_stat() {
    let mapping = standard();
    let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (entry, mapped) in described(&mapping) {
        let key = format!("{}{{{}}}", mapped.family, mapped.labels.to_block());
        series.entry(key).or_default().insert(entry);
    }
    series.retain(|_, entries| entries.len() > 1);
    assert!(series.is_empty(), "{series:#?}");
}

fn standard() -> Mapping {
    let profile = Source::Profile("standard".to_owned());
    Mapping::compile(&[profile], FamilyBounds::default()).unwrap()
}

/// Each entry, with `x` in its placeholders, and its series.
fn described(mapping: &Mapping) -> Vec<(String, Mapped)> {
    let mut described = Vec::new();
    for entry in mapping.catalogue().iter() {
        let mut base = String::new();
        for (at, part) in entry.name.split(['{', '}']).enumerate() {
            base += if at % 2 == 0 { part } else { "x" };
        }
        match mapping.map_base(&base, None) {
            Verdict::Mapped(mapped) => described.push((entry.name.clone(), mapped)),
            other => panic!("{}: {other:?}", entry.name),
        }
    }
    assert!(described.len() > 1500, "{}", described.len());
    described
}
