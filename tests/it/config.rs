//! Files with mistakes: every message in full, with its place.

use std::fmt::Write as _;
use std::fs;

use envoy_exporter::config::{Config, Overrides};

use crate::support::testdata;

/// Each `*.bad.yaml` of `testdata/config` is a configuration file, each `*.bad.table.yaml` a mapping
/// table; `messages.txt` has what is said of each. `UPDATE_GOLDEN=1` writes it.
#[test]
fn every_mistake_is_told_with_its_place() {
    let folder = testdata("config");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{} files", files.len());
    let mut got = String::new();
    for file in files {
        let shown = file.display().to_string();
        let is_table = shown.ends_with(".bad.table.yaml");
        let overrides = Overrides {
            config_file: (!is_table).then(|| file.clone()),
            mapping: is_table.then(|| shown.clone()).into_iter().collect(),
            ..Overrides::default()
        };
        let error = Config::load(&overrides).expect_err(&shown).to_string();
        let error = error.replace(&format!("{}/", folder.display()), "");
        writeln!(got, "{error}\n").unwrap();
    }
    let expected = folder.join("messages.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&expected, &got).unwrap();
    }
    let want = fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(got, want);
}
