use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn read(yaml: &str) -> Vec<RuleConfig> {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

/// What `rules` make of `input`; nothing if it is dropped.
#[track_caller]
fn check(rules: &str, input: &[(&str, &str)], want: Option<&[(&str, &str)]>) {
    let rules = Rules::compile(&read(rules)).unwrap_or_else(|errors| panic!("{rules}: {errors:?}"));
    let mut got = labels(input);
    match (rules.apply(&mut got), want) {
        (Verdict::Keep, Some(want)) => assert_eq!(got, labels(want)),
        (Verdict::Drop, None) => {}
        (verdict, _) => panic!("{verdict:?}: {got:?}"),
    }
}

#[test]
fn no_rules_keep() {
    check("[]", &[("a", "1")], Some(&[("a", "1")]));
    check("[]", &[], None);
    assert!(Rules::default().is_empty());
}

#[test]
fn replace() {
    let input: &[_] = &[("__name__", "m"), ("a", "foo"), ("b", "bar"), ("c", "baz")];
    let with = |name: &'static str, value: &'static str| {
        let mut all = input.to_vec();
        all.retain(|label| label.0 != name);
        all.push((name, value));
        all
    };
    for (rule, want) in [
        // All the defaults: the source to the target.
        ("{source_labels: [a], target_label: d}", with("d", "foo")),
        ("{target_label: d, replacement: x}", with("d", "x")),
        // Several sources, their order, and separators.
        (
            "{source_labels: [a, b], target_label: d}",
            with("d", "foo;bar"),
        ),
        (
            "{source_labels: [b, a, b], separator: '', target_label: d}",
            with("d", "barfoobar"),
        ),
        (
            "{source_labels: [a, b], separator: ' - ', target_label: d}",
            with("d", "foo - bar"),
        ),
        (
            "{source_labels: [a, b], separator: null, target_label: d}",
            with("d", "foobar"),
        ),
        // Missing labels are empty.
        (
            "{source_labels: [x, a, y], target_label: d}",
            with("d", ";foo;"),
        ),
        (
            "{source_labels: [x], regex: '', target_label: d, replacement: none}",
            with("d", "none"),
        ),
        // Anchored at both ends, and at the alternation's too.
        (
            "{source_labels: [a], regex: o, target_label: d}",
            input.to_vec(),
        ),
        (
            "{source_labels: [a], regex: f|x, target_label: d}",
            input.to_vec(),
        ),
        (
            "{source_labels: [a], regex: f.*, target_label: d, replacement: y}",
            with("d", "y"),
        ),
        // No match, no change, also with a replacement that is empty.
        (
            "{source_labels: [a], regex: no, target_label: b, replacement: ''}",
            input.to_vec(),
        ),
        // An empty result takes the label out.
        (
            "{source_labels: [a], target_label: c, replacement: ''}",
            with("c", ""),
        ),
        ("{target_label: c, replacement: null}", with("c", "")),
        ("{source_labels: [x], target_label: c}", with("c", "")),
        (
            "{source_labels: [a], regex: 'f(x)?oo', target_label: c, replacement: '$1'}",
            with("c", ""),
        ),
        // Groups.
        (
            "{source_labels: [a], regex: '(.)(?P<rest>.*)', target_label: d, replacement: '${rest}$1-$$'}",
            with("d", "oof-$"),
        ),
        (
            "{source_labels: [a], regex: '(.)(.*)', target_label: d, replacement: '${1}x$1x'}",
            with("d", "fx"),
        ),
        // Groups in the target.
        (
            "{source_labels: [a, b], regex: '(.*);(.*)', target_label: $1, replacement: $2}",
            with("foo", "bar"),
        ),
        (
            "{source_labels: [a], regex: '(.)(.*)', target_label: 'x_${1}_$2', replacement: y}",
            with("x_f_oo", "y"),
        ),
        // A target that is no label name once expanded changes nothing.
        (
            "{source_labels: [a], regex: 'f(x)?oo', target_label: '${1}', replacement: y}",
            input.to_vec(),
        ),
        (
            "{source_labels: [a, b], target_label: '$1', replacement: y}",
            input.to_vec(),
        ),
        // The metric's name is a label as any other.
        (
            "{source_labels: [__name__, a], separator: _, target_label: __name__}",
            with("__name__", "m_foo"),
        ),
        // Scalars that are no strings to YAML are taken as written.
        ("{target_label: d, replacement: 1.0}", with("d", "1.0")),
        (
            "{source_labels: [a], separator: true, regex: true, target_label: d}",
            input.to_vec(),
        ),
    ] {
        check(&format!("[{rule}]"), input, Some(&want));
    }
}

#[test]
fn a_dot_matches_a_line_feed() {
    let rule = "[{source_labels: [a], target_label: b}]";
    check(
        rule,
        &[("a", "x\ny")],
        Some(&[("a", "x\ny"), ("b", "x\ny")]),
    );
}

#[test]
fn keep_and_drop() {
    let input: &[_] = &[("__name__", "m"), ("a", "foo"), ("b", "foo")];
    for (rule, kept) in [
        ("{action: keep, source_labels: [a], regex: foo}", true),
        ("{action: keep, source_labels: [a], regex: fo}", false),
        ("{action: keep, source_labels: [a], regex: fo.+|x}", true),
        (
            "{action: keep, source_labels: [a, b], regex: foo;foo}",
            true,
        ),
        ("{action: keep, source_labels: [x], regex: ''}", true),
        ("{action: keep, source_labels: [x], regex: .+}", false),
        // Null is the empty regex, not the default.
        ("{action: keep, source_labels: [a], regex: null}", false),
        ("{action: keep, source_labels: [a]}", true),
        ("{action: keep, regex: ''}", true),
        ("{action: keep, source_labels: [], regex: ''}", true),
        ("{action: drop, source_labels: [a], regex: foo}", false),
        ("{action: drop, source_labels: [a], regex: o+}", true),
        ("{action: drop, source_labels: [__name__], regex: m}", false),
        ("{action: drop, source_labels: [x], regex: .+}", true),
        ("{action: drop}", false),
        (
            "{action: DROP, source_labels: [a], regex: '(?i)FOO'}",
            false,
        ),
        (
            "{action: keepequal, source_labels: [a], target_label: b}",
            true,
        ),
        (
            "{action: keepequal, source_labels: [a], target_label: x}",
            false,
        ),
        (
            "{action: keepequal, source_labels: [x], target_label: y}",
            true,
        ),
        (
            "{action: keepequal, source_labels: [a, b], target_label: a}",
            false,
        ),
        ("{action: KeepEqual, target_label: x}", true),
        (
            "{action: dropequal, source_labels: [a], target_label: b}",
            false,
        ),
        (
            "{action: dropequal, source_labels: [a], target_label: __name__}",
            true,
        ),
        (
            "{action: dropequal, source_labels: [x], target_label: y}",
            false,
        ),
    ] {
        check(&format!("[{rule}]"), input, kept.then_some(input));
    }
}

#[test]
fn hash_mod() {
    // The numbers, in Python: int.from_bytes(hashlib.md5(text).digest()[8:], "big") % modulus
    for (rule, want) in [
        ("source_labels: [a], modulus: 1000", "696"),
        ("source_labels: [a, b], modulus: 8", "6"),
        ("source_labels: [x], modulus: 10", "8"),
        ("source_labels: [x, y, z], separator: '', modulus: 10", "8"),
        (
            "source_labels: [a, b], modulus: 18446744073709551615",
            "15973639978189266750",
        ),
        ("source_labels: [a], modulus: 1", "0"),
        // Neither is read.
        (
            "source_labels: [a], modulus: 1000, regex: no, replacement: x",
            "696",
        ),
    ] {
        check(
            &format!("[{{action: hashmod, target_label: h, {rule}}}]"),
            &[("a", "foo"), ("b", "bar")],
            Some(&[("a", "foo"), ("b", "bar"), ("h", want)]),
        );
    }
}

#[test]
fn label_map() {
    let input: &[_] = &[("__name__", "m"), ("k_a", "1"), ("k_b", "2"), ("z", "3")];
    let plus = |more: &[(&'static str, &'static str)]| [input, more].concat();
    for (rules, want) in [
        (
            "[{action: labelmap, regex: k_(.+)}]",
            plus(&[("a", "1"), ("b", "2")]),
        ),
        (
            "[{action: labelmap, regex: k_(.+), replacement: 'x_${1}_y'}]",
            plus(&[("x_a_y", "1"), ("x_b_y", "2")]),
        ),
        // The name has to match as a whole.
        ("[{action: labelmap, regex: _(b|a)}]", input.to_vec()),
        // What is set is not gone through again.
        (
            "[{action: labelmap, regex: (z+), replacement: '${1}z'}]",
            plus(&[("zz", "3")]),
        ),
        // Two of one name: the later counts,
        (
            "[{action: labelmap, regex: k_.+, replacement: x}]",
            plus(&[("x", "2")]),
        ),
        // and what rules have set is later than what came.
        (
            "[{target_label: k_a, replacement: new}, {action: labelmap, regex: k_.+, replacement: x}]",
            vec![
                ("__name__", "m"),
                ("k_a", "new"),
                ("k_b", "2"),
                ("x", "new"),
                ("z", "3"),
            ],
        ),
        (
            "[{target_label: k_y, replacement: '8'}, {target_label: k_x, replacement: '9'},
              {action: labelmap, regex: k_.+, replacement: x}]",
            plus(&[("k_x", "9"), ("k_y", "8"), ("x", "9")]),
        ),
        // Bad names stay for the check of the result.
        (
            "[{action: labelmap, regex: 'k(_)?.*|(z)', replacement: '$2'}]",
            plus(&[("", "2")]),
        ),
    ] {
        check(rules, input, Some(&want));
    }
}

#[test]
fn label_drop_and_keep() {
    let input: &[_] = &[("__name__", "m"), ("a", "1"), ("ab", "2"), ("b", "3")];
    for (rule, want) in [
        (
            "{action: labeldrop, regex: a}",
            Some(&[("__name__", "m"), ("ab", "2"), ("b", "3")][..]),
        ),
        (
            "{action: labeldrop, regex: a.*}",
            Some(&[("__name__", "m"), ("b", "3")]),
        ),
        ("{action: labeldrop, regex: x}", Some(input)),
        (
            "{action: labelkeep, regex: __name__|b}",
            Some(&[("__name__", "m"), ("b", "3")]),
        ),
        // The name is no exception.
        (
            "{action: labeldrop, regex: __.*}",
            Some(&[("a", "1"), ("ab", "2"), ("b", "3")]),
        ),
        ("{action: labelkeep, regex: a}", Some(&[("a", "1")])),
        // Nothing left.
        ("{action: labeldrop}", None),
        ("{action: labelkeep, regex: ''}", None),
        // What counts as not written.
        (
            "{action: labeldrop, regex: a.*, separator: ;, replacement: $1, modulus: 0, target_label: ''}",
            Some(&[("__name__", "m"), ("b", "3")]),
        ),
    ] {
        check(&format!("[{rule}]"), input, want);
    }
}

#[test]
fn case_of_values() {
    for (rule, want) in [
        (
            "{action: lowercase, source_labels: [a], target_label: b}",
            Some("foo"),
        ),
        (
            "{action: uppercase, source_labels: [a, b], target_label: b}",
            Some("FOO;X"),
        ),
        // The regex is not read.
        (
            "{action: uppercase, source_labels: [a], regex: no, target_label: b}",
            Some("FOO"),
        ),
        (
            "{action: lowercase, source_labels: [x], target_label: b}",
            None,
        ),
    ] {
        let mut all = vec![("a", "Foo")];
        all.extend(want.map(|value| ("b", value)));
        check(
            &format!("[{rule}]"),
            &[("a", "Foo"), ("b", "x")],
            Some(&all),
        );
    }
}

#[test]
fn rules_follow_each_other() {
    // The second sees what the first did.
    check(
        "[{source_labels: [a], target_label: __tmp}, {source_labels: [__tmp], regex: (.).*, target_label: b}]",
        &[("a", "foo")],
        Some(&[("__tmp", "foo"), ("a", "foo"), ("b", "f")]),
    );
    // The first that drops ends it.
    check(
        "[{action: keep, source_labels: [a], regex: no}, {target_label: a, replacement: no}]",
        &[("a", "foo")],
        None,
    );
    check(
        "[{target_label: a, replacement: no}, {action: drop, source_labels: [a], regex: foo}]",
        &[("a", "foo")],
        Some(&[("a", "no")]),
    );
    // Nothing left in between is no end.
    check(
        "[{action: labeldrop}, {target_label: a, replacement: new}]",
        &[("a", "foo")],
        Some(&[("a", "new")]),
    );
}

#[test]
fn results_are_checked() {
    for (pairs, want) in [
        (&[("__name__", "m:x_1")][..], true),
        (&[("__name__", "m"), ("__tmp", "x"), ("_a", "1")], true),
        (&[], false),
        (&[("a", "1")], false),
        (&[("__name__", "1m")], false),
        (&[("__name__", "a.b")], false),
        (&[("__name__", "m"), ("", "1")], false),
        (&[("__name__", "m"), ("1a", "1")], false),
        (&[("__name__", "m"), ("a:b", "1")], false),
    ] {
        assert_eq!(is_valid_result(&labels(pairs)), want, "{pairs:?}");
    }
}

#[test]
fn labels_are_sorted_and_never_empty() {
    let mut set = labels(&[("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]);
    assert_eq!(set, labels(&[("a", "2"), ("b", "3")]));
    assert_eq!((set.get("b"), set.get("c"), set.len()), ("3", "", 2));
    set.set("b", "");
    set.set("x", "");
    assert_eq!(set.remove("b"), None);
    assert_eq!(set.remove("a"), Some("2".to_owned()));
    assert!(set.is_empty());
    let pairs: Vec<_> = labels(&[("b", "1"), ("a", "2")]).into_iter().collect();
    assert_eq!(pairs, [("a".into(), "2".into()), ("b".into(), "1".into())]);
}

/// The messages for one rule that does not compile.
#[track_caller]
fn refuse(rule: &str, want: &[&str]) {
    let errors = Rules::compile(&read(&format!("[{rule}]"))).expect_err(rule);
    let got: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let want: Vec<_> = want.iter().map(|text| format!("rule 1: {text}")).collect();
    assert_eq!(got, want, "{rule}");
}

#[test]
fn bad_actions_and_what_each_needs() {
    for (rule, want) in [
        ("{action: rename}", &["action: unknown action 'rename'"][..]),
        ("{action: ''}", &["action: unknown action ''"]),
        ("{action: null}", &["action: unknown action ''"]),
        // What each action needs.
        ("{}", &["target_label: action replace needs it"]),
        (
            "{action: Replace, source_labels: [a]}",
            &["target_label: action replace needs it"],
        ),
        (
            "{action: hashmod}",
            &[
                "modulus: action hashmod needs it",
                "target_label: action hashmod needs it",
            ],
        ),
        (
            "{action: hashmod, target_label: a, modulus: 0}",
            &["modulus: action hashmod needs it"],
        ),
        (
            "{action: lowercase}",
            &["target_label: action lowercase needs it"],
        ),
        (
            "{action: uppercase}",
            &["target_label: action uppercase needs it"],
        ),
        (
            "{action: keepequal}",
            &["target_label: action keepequal needs it"],
        ),
        (
            "{action: dropequal}",
            &["target_label: action dropequal needs it"],
        ),
    ] {
        refuse(rule, want);
    }
}

#[test]
fn bad_label_names() {
    for (rule, want) in [
        (
            "{source_labels: [a, b-c, ''], target_label: a}",
            &[
                "source_labels: 'b-c' is not a label name",
                "source_labels: '' is not a label name",
            ][..],
        ),
        (
            "{target_label: a-b}",
            &["target_label: 'a-b' is not a label name"],
        ),
        (
            "{target_label: 0a}",
            &["target_label: '0a' is not a label name"],
        ),
        (
            "{target_label: 'a-$1'}",
            &["target_label: 'a-$1' is not a label name, also not with groups put in"],
        ),
        (
            "{target_label: '0${1}'}",
            &["target_label: '0${1}' is not a label name, also not with groups put in"],
        ),
        (
            "{action: hashmod, modulus: 1, target_label: $1}",
            &["target_label: '$1' is not a label name"],
        ),
        (
            "{action: lowercase, target_label: '${1}'}",
            &["target_label: '${1}' is not a label name"],
        ),
        (
            "{action: uppercase, target_label: $1}",
            &["target_label: '$1' is not a label name"],
        ),
        (
            "{action: keepequal, target_label: $1}",
            &["target_label: '$1' is not a label name"],
        ),
        (
            "{action: dropequal, target_label: a b}",
            &["target_label: 'a b' is not a label name"],
        ),
        (
            "{action: labelmap, replacement: l-$1}",
            &["replacement: 'l-$1' is not a label name, also not with groups put in"],
        ),
        (
            "{action: labelmap, replacement: ''}",
            &["replacement: '' is not a label name, also not with groups put in"],
        ),
    ] {
        refuse(rule, want);
    }
}

#[test]
fn fields_that_are_not_taken() {
    for (rule, want) in [
        (
            "{action: lowercase, target_label: a, replacement: x}",
            &["replacement: action lowercase does not take it"][..],
        ),
        (
            "{action: uppercase, target_label: a, replacement: ''}",
            &["replacement: action uppercase does not take it"],
        ),
        (
            "{action: labeldrop, source_labels: [], target_label: a, modulus: 1, separator: ',', replacement: x}",
            &[
                "source_labels: action labeldrop does not take it",
                "target_label: action labeldrop does not take it",
                "modulus: action labeldrop does not take it",
                "separator: action labeldrop does not take it",
                "replacement: action labeldrop does not take it",
            ],
        ),
        (
            "{action: labelkeep, source_labels: [a]}",
            &["source_labels: action labelkeep does not take it"],
        ),
        (
            "{action: keepequal, target_label: a, regex: (.*), modulus: 1, separator: '', replacement: x}",
            &[
                "regex: action keepequal does not take it",
                "modulus: action keepequal does not take it",
                "separator: action keepequal does not take it",
                "replacement: action keepequal does not take it",
            ],
        ),
        (
            "{action: dropequal, target_label: a, regex: x}",
            &["regex: action dropequal does not take it"],
        ),
    ] {
        refuse(rule, want);
    }
}

#[test]
fn bad_regexes() {
    for (rule, want) in [
        (
            "{action: keep, regex: (}",
            &["regex: '(': unclosed group"][..],
        ),
        (
            "{action: nope, regex: a**}",
            &[
                "regex: 'a**': repetition of a repetition",
                "action: unknown action 'nope'",
            ],
        ),
    ] {
        refuse(rule, want);
    }
}

#[test]
fn every_bad_rule_is_told() {
    let rules = "[{}, {action: drop}, {action: nope}, {target_label: x, regex: '['}]";
    let errors = Rules::compile(&read(rules)).unwrap_err();
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error.rule, error.field))
        .collect();
    assert_eq!(places, [(1, "target_label"), (3, "action"), (4, "regex")]);
    let long = RuleConfig {
        action: "x".repeat(1000),
        ..RuleConfig::default()
    };
    let message = Rules::compile(&[long]).unwrap_err()[0].to_string();
    assert_eq!(
        message.len(),
        "rule 1: action: unknown action '...'".len() + 80
    );
}

#[test]
fn unreadable_rules() {
    for rule in [
        "{sources: [a]}",
        "{source_labels: a}",
        "{modulus: -1}",
        "{modulus: x}",
        "{regex: [a]}",
        "{regex: a, regex: b}",
    ] {
        assert!(
            serde_saphyr::from_str::<RuleConfig>(rule).is_err(),
            "{rule}"
        );
    }
    assert_eq!(
        read("[{regex: 80, replacement: yes, modulus: null}]"),
        [RuleConfig {
            regex: Some("80".into()),
            replacement: "yes".into(),
            ..RuleConfig::default()
        }]
    );
}

fn any_rule() -> impl Strategy<Value = RuleConfig> {
    let name = prop::sample::select(vec!["__name__", "a", "ab", "b", "c"]);
    let actions = vec![
        "replace",
        "keep",
        "drop",
        "keepequal",
        "dropequal",
        "hashmod",
        "labelmap",
        "labeldrop",
        "labelkeep",
        "lowercase",
        "uppercase",
    ];
    let regex = prop::sample::select(vec![
        "",
        "(.*)",
        ".+",
        "a",
        "(a)?(?P<n>.*)",
        "(.)(.*)",
        "__name__|a",
        r"\w*",
        "a)|(b",
        "[^a]*",
    ]);
    let replacement = prop::sample::select(vec!["$1", "${1}_$2", "$n", "x", "$$", "b$0", ""]);
    let target = prop_oneof![name.clone(), prop::sample::select(vec!["$1", "a_${2}"])];
    (
        prop::option::of(prop::collection::vec(name, 0..3)),
        prop::sample::select(vec![";", "", "a"]),
        target,
        prop::option::of(regex),
        0..3_u64,
        replacement,
        prop::sample::select(actions),
    )
        .prop_map(
            |(source_labels, separator, target, regex, modulus, replacement, action)| RuleConfig {
                source_labels: source_labels
                    .map(|names| names.into_iter().map(str::to_owned).collect()),
                separator: separator.to_owned(),
                target_label: target.to_owned(),
                regex: regex.map(str::to_owned),
                modulus,
                replacement: replacement.to_owned(),
                action: action.to_owned(),
            },
        )
}

proptest! {
    #[test]
    fn results_are_sorted_unique_and_not_empty(
        rules in prop::collection::vec(any_rule(), 0..6),
        input in prop::collection::vec(("[a-c]{1,2}", "[ab;\u{e9}]{0,3}"), 0..5),
    ) {
        let rules: Vec<_> = rules
            .into_iter()
            .filter(|rule| Rules::compile(std::slice::from_ref(rule)).is_ok())
            .collect();
        let rules = Rules::compile(&rules).unwrap();
        let mut labels: Labels = input.into_iter().collect();
        labels.set(NAME, "m");
        let mut again = labels.clone();
        let verdict = rules.apply(&mut labels);
        let names: Vec<_> = labels.iter().map(|(name, _)| name).collect();
        prop_assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        prop_assert!(labels.iter().all(|(_, value)| !value.is_empty()));
        prop_assert!(verdict == Verdict::Drop || !labels.is_empty());
        prop_assert_eq!(rules.apply(&mut again), verdict);
        prop_assert_eq!(again, labels);
    }

    #[test]
    fn no_rule_panics(
        regex in ".{0,12}|[a(){}*+?|\\[\\]^$\\\\0-9:,xQEpPdwb&-]{0,16}",
        template in ".{0,8}|[$a{}1_]{0,8}",
        value in ".{0,8}|[a&-]{0,8}",
        action in prop::sample::select(vec!["replace", "labelmap"]),
    ) {
        let rule = RuleConfig {
            source_labels: Some(vec!["a".into()]),
            target_label: template.clone(),
            regex: Some(regex),
            replacement: template,
            action: action.into(),
            ..RuleConfig::default()
        };
        if let Ok(rules) = Rules::compile(&[rule]) {
            let mut labels = labels(&[("a", &value), ("b", "x")]);
            let _ = rules.apply(&mut labels);
        }
    }

    #[test]
    fn templates_of_any_text_expand(template in ".{0,8}|[$a{}1_]{0,8}") {
        let regex = pattern::compile("(a)(?P<a1>.)").unwrap();
        let captures = regex.captures("ab").unwrap();
        let text = Template::new(&template, &regex).expand(&captures);
        prop_assert!(template.contains('$') || text == template);
    }
}
