//! Each folder of `testdata/golden` is a case: the files of a capture, perhaps `mapping.yaml`, and
//! `expected.prom`. `UPDATE_GOLDEN=1` writes what comes out; a difference needs its reason in the
//! commit.

use std::fs;

use crate::support::{poll_dir, prom, testdata, text};

#[tokio::test]
async fn every_case_gives_what_is_expected() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut cases = 0;
    for entry in fs::read_dir(testdata("golden")).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.is_dir() {
            continue;
        }
        cases += 1;
        let mapping = dir.join("mapping.yaml");
        let mapping = if mapping.exists() {
            vec![mapping]
        } else {
            Vec::new()
        };
        let polled = poll_dir(&dir, &mapping).await;
        let got = text(polled.unwrap_or_else(|error| panic!("{}: {error:#?}", dir.display())));
        prom::read(&got);
        let expected = dir.join("expected.prom");
        if update {
            fs::write(&expected, &got).unwrap();
        }
        let want = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(got, want, "{}", dir.display());
    }
    assert!(cases >= 5, "{cases} cases");
}

#[tokio::test]
async fn the_same_answers_give_the_same_bytes() {
    let dir = testdata("demo");
    let first = text(poll_dir(&dir, &[]).await.unwrap());
    let second = text(poll_dir(&dir, &[]).await.unwrap());
    assert!(first == second);
    prom::read(&first);
}
