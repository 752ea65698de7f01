//! The shipped tables against what real proxies sent.

use envoy_exporter::mapping::Mapping;
use envoy_exporter::snapshot::DropReason;

use envoy_exporter::config::Overrides;

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
