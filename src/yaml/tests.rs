use std::collections::BTreeMap;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    text: String,
    count: Option<u32>,
    bounds: Vec<f64>,
    items: Vec<Attempt<Item>>,
    named: BTreeMap<String, Placed<Item>>,
    flag: Attempt<bool>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    kind: Option<Kind>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Small,
    Large,
}

fn mistakes(text: &str) -> Vec<String> {
    let (sample, mut problems) = read::<Sample>(text);
    if let Some(sample) = sample {
        take_all(sample.items, &mut problems);
        sample.flag.take(&mut problems);
    }
    problems.sort();
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn values_are_read_as_they_are_wanted() {
    let text = "text: 0x1F\ncount: 12\nbounds: [1, 2.5, 1e3]\nflag: true\nitems:\n  - {name: 503, kind: small}\n  - name: \"a\\nb\"\nnamed:\n  7: {name: yes}\n";
    let (sample, problems) = read::<Sample>(text);
    assert!(problems.is_empty(), "{problems:?}");
    let sample = sample.unwrap();
    assert_eq!(sample.text, "0x1F");
    assert_eq!(sample.count, Some(12));
    assert_eq!(sample.bounds, [1.0, 2.5, 1000.0]);
    assert!(sample.flag.0.unwrap());
    let items = take_all(sample.items, &mut Vec::new());
    assert_eq!(items[0].name, "503");
    assert_eq!(items[0].kind, Some(Kind::Small));
    assert_eq!(items[1].name, "a\nb");
    assert_eq!(sample.named["7"].value.name, "yes");
    assert_eq!(sample.named["7"].place, Place { line: 9, column: 6 });
}

#[test]
fn nothing_is_a_mapping_without_keys() {
    for text in ["", "  \n", "# only a comment\n"] {
        let (sample, problems) = read::<Sample>(text);
        assert!(sample.is_some() && problems.is_empty(), "{text:?}");
    }
}

#[test]
fn every_mistake_has_its_place() {
    for (text, want) in [
        (
            "txt: a\ncnt: 1",
            vec![
                "1:1: no such key 'txt'; here go text, count, bounds, items, named, flag",
                "2:1: no such key 'cnt'; here go text, count, bounds, items, named, flag",
            ],
        ),
        (
            "bounds: [1, .inf]",
            vec!["1:13: a number is wanted here, not '.inf'"],
        ),
        (
            "text: a\ntext: b",
            vec!["2:1: the key 'text' is there twice"],
        ),
        ("text: [a]", vec!["1:7: text is wanted here, not a list"]),
        (
            "count: many",
            vec!["1:8: a whole number is wanted here, not 'many'"],
        ),
        (
            "count: -1",
            vec!["1:8: a whole number is wanted here, not '-1'"],
        ),
        (
            "items:\n  - {nam: a}\n  - {name: b}\n  - {name: c, kind: huge}\nflag: perhaps",
            vec![
                "2:5: the key 'name' is missing",
                "2:6: no such key 'nam'; here go name, kind",
                "4:21: 'huge' is none of small, large",
                "5:7: true or false is wanted here, not 'perhaps'",
            ],
        ),
        ("- a", vec!["1:1: a mapping is wanted here, not a list"]),
    ] {
        assert_eq!(mistakes(text), want, "{text:?}");
    }
    for text in ["text: a\ntext: b", "text: {", "text: 'a", "\tx: 1"] {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert!(!found[0].starts_with("0:0"), "{text:?}: {found:?}");
    }
}
