use super::*;
use proptest::prelude::*;

fn scalars(body: &str) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    stats(body.as_bytes(), |name, value| {
        let value = match value {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => format!("{text:?}"),
        };
        found.push((name.to_owned(), value));
    })?;
    Ok(found)
}

#[track_caller]
fn check(body: &str, want: &[(&str, &str)]) {
    let got = scalars(body).expect(body);
    let got: Vec<_> = got
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(got, want, "{body}");
}

#[test]
fn scalars_of_every_shape() {
    check(r#"{"stats":[]}"#, &[]);
    check(r#"{"stats":[{"name":"a","value":0}]}"#, &[("a", "0")]);
    check(
        r#"{"stats":[{"name":"a","value":18446744073709551615},{"value":5,"name":"b"}]}"#,
        &[("a", "18446744073709551615"), ("b", "5")],
    );
    check(
        r#"{"stats":[{"name":"a b|c;[{\"\\\n\u0001","value":"x\u00ffé"}]}"#,
        &[("a b|c;[{\"\\\n\u{1}", "\"x\u{ff}\u{e9}\"")],
    );
    // Envoy escapes the bytes of invalid UTF-8 one by one.
    check(
        r#"{"stats":[{"name":"\u00ff\u00fe","value":1}]}"#,
        &[("\u{ff}\u{fe}", "1")],
    );
    check(
        r#"{"x":[1,{}],"stats":[{"name":"a","value":1,"y":null}],"z":2}"#,
        &[("a", "1")],
    );
    check(
        r#"{"stats":[{"name":"a","value":1},{"histograms":{"supported_quantiles":[0],"computed_quantiles":[]}}]}"#,
        &[("a", "1")],
    );
    check(
        r#"{"stats":[{"name":"a","value":1},{"histograms":[]}]}"#,
        &[("a", "1")],
    );
    check(
        r#"{"stats":[{"name":"a","value":1},{"name":"a","value":2}]}"#,
        &[("a", "1"), ("a", "2")],
    );
}

#[test]
fn errors_say_what_and_where() {
    for (body, byte, reason) in [
        ("", 0, "EOF while parsing a value"),
        ("<html>", 0, "expected value"),
        (
            "[]",
            0,
            "invalid type: sequence, expected an object with the key \"stats\"",
        ),
        ("{}", 1, "missing field `stats`"),
        (r#"{"stats":{}}"#, 8, "invalid type: map, expected an array"),
        (
            r#"{"stats":[7]}"#,
            10,
            "invalid type: integer `7`, expected an object with \"name\" and \"value\", or with \"histograms\"",
        ),
        (r#"{"stats":[{"name":"a"}]}"#, 21, "missing field `value`"),
        (r#"{"stats":[{"value":1}]}"#, 20, "missing field `name`"),
        (
            r#"{"stats":[{"name":"a","value":-1}]}"#,
            31,
            "invalid type: integer `-1`, expected a whole number from 0 to 2^64-1 or a string",
        ),
        (
            r#"{"stats":[{"name":"a","value":1.5}]}"#,
            32,
            "invalid type: floating point `1.5`, expected a whole number from 0 to 2^64-1 or a string",
        ),
        (
            r#"{"stats":[{"name":"a","value":18446744073709551616}]}"#,
            49,
            "invalid type: floating point `1.8446744073709552e+19`, expected a whole number from 0 to 2^64-1 or a string",
        ),
        (
            r#"{"stats":[{"name":"a","value":null}]}"#,
            33,
            "invalid type: null, expected a whole number from 0 to 2^64-1 or a string",
        ),
        (
            r#"{"stats":[{"name":5,"value":1}]}"#,
            18,
            "invalid type: integer `5`, expected a string",
        ),
        (
            r#"{"stats":[{"name":"a","name":"b","value":1}]}"#,
            27,
            "duplicate field `name`",
        ),
        (r#"{"stats":[],"stats":[]}"#, 18, "duplicate field `stats`"),
        (r#"{"stats":[]}x"#, 12, "trailing characters"),
        (
            r#"{"stats":[{"name":"\ud800","value":1}]}"#,
            25,
            "unexpected end of hex escape",
        ),
        (
            "{\n\"stats\":[\n{\"name\":\"a\",\"value\":}]}",
            32,
            "expected value",
        ),
    ] {
        let error = scalars(body).expect_err(body);
        assert_eq!(
            (error.byte, error.reason.as_str()),
            (byte, reason),
            "{body}"
        );
    }
}

#[test]
fn an_error_shows_the_text_around_it() {
    let body = format!(
        r#"{{"stats":[{{"name":"{}","value":-1}}]}}"#,
        "x".repeat(500)
    );
    let error = scalars(&body).unwrap_err();
    assert!(error.excerpt.len() <= EXCERPT, "{}", error.excerpt);
    assert!(error.excerpt.contains("\"value\":-1"), "{}", error.excerpt);
}

#[test]
fn bytes_that_are_no_utf8_are_an_error() {
    assert!(stats(b"{\"stats\":[{\"name\":\"\xff\",\"value\":1}]}", |_, _| {}).is_err());
}

const DETAILED: &str = r#"{"stats":[{"name":"x","value":1},{"histograms":{"supported_percentiles":[0,100],"details":[{"name":"h\"1","totals":[{"lower_bound":0,"width":0,"count":2},{"lower_bound":-9199999999999998976,"width":1e+17,"count":18446744073709551615}],"intervals":[{"lower_bound":1,"width":0.1,"count":1}],"percentiles":[{"cumulative":1.05,"interval":null},{"cumulative":null,"interval":2}]},{"name":"empty","totals":[],"intervals":[],"percentiles":[{"cumulative":null,"interval":null},{"cumulative":null,"interval":null}]}]}}]}"#;

fn detailed(body: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    histograms(body.as_bytes(), |histogram| {
        let bins: Vec<_> = histogram
            .bins
            .iter()
            .map(|bin| (bin.lower_bound, bin.width, bin.count))
            .collect();
        found.push(format!(
            "{} {bins:?} {:?}",
            histogram.name, histogram.percentiles
        ));
    })?;
    Ok(found)
}

#[test]
fn detailed_histograms() {
    assert_eq!(
        detailed(DETAILED).unwrap(),
        [
            "h\"1 [(0.0, 0.0, 2), (-9.199999999999999e18, 1e17, 18446744073709551615)] [(0.0, Some(1.05)), (100.0, None)]",
            "empty [] [(0.0, None), (100.0, None)]",
        ]
    );
    assert_eq!(detailed(r#"{"stats":[]}"#).unwrap(), Vec::<String>::new());
}

#[test]
fn another_form_of_histograms_is_an_error() {
    for (body, reason) in [
        (
            r#"{"stats":[{"histograms":{"supported_quantiles":[],"computed_quantiles":[]}}]}"#,
            "missing field `details`",
        ),
        (
            r#"{"stats":[{"histograms":[]}]}"#,
            "invalid type: sequence, expected an object with histograms in their detailed form",
        ),
        (
            r#"{"stats":[{"histograms":{"details":[{"name":"a"}]}}]}"#,
            "missing field `totals`",
        ),
        (
            r#"{"stats":[{"histograms":{"details":[{"totals":[]}]}}]}"#,
            "missing field `name`",
        ),
        (
            r#"{"stats":[{"histograms":{"details":[{"name":"a","totals":[{"lower_bound":1,"width":1,"count":-1}]}]}}]}"#,
            "invalid value: integer `-1`, expected u64",
        ),
    ] {
        assert_eq!(detailed(body).expect_err(body).reason, reason, "{body}");
    }
}

#[test]
fn bounds_come_sorted_and_once() {
    let body = r#"{"stats":[{"name":"x","value":1},{"histograms":[{"name":"h","buckets":[{"upper_bound":5,"interval":0,"cumulative":1},{"upper_bound":0.5,"interval":0,"cumulative":0},{"upper_bound":5,"interval":0,"cumulative":1}]},{"name":"g","buckets":[]}]}]}"#;
    let mut found = Vec::new();
    histogram_bounds(body.as_bytes(), |name, bounds| {
        found.push((name.to_owned(), bounds.to_vec()));
    })
    .unwrap();
    assert_eq!(
        found,
        [("h".to_owned(), vec![0.5, 5.0]), ("g".to_owned(), vec![])]
    );
    assert!(histogram_bounds(DETAILED.as_bytes(), |_, _| {}).is_err());
}

#[test]
fn a_body_cut_anywhere_is_an_error() {
    for end in 0..DETAILED.len() {
        let cut = &DETAILED.as_bytes()[..end];
        assert!(stats(cut, |_, _| {}).is_err(), "stats at {end}");
        assert!(histograms(cut, |_| {}).is_err(), "histograms at {end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>) {
        let _ = stats(&body, |_, _| {});
        let _ = histograms(&body, |_| {});
        let _ = histogram_bounds(&body, |_, _| {});
        let _ = endpoints(&body);
        let _ = version(&body);
    }

    #[test]
    fn any_name_and_number_comes_through(name: String, value: u64) {
        let body = serde_json::json!({"stats": [{"name": name, "value": value}]}).to_string();
        prop_assert_eq!(scalars(&body).unwrap(), [(name, value.to_string())]);
    }
}

/// Without care a JSON reader is off by the last bit of a double.
#[test]
fn doubles_are_read_to_the_last_bit() {
    let body = r#"{"stats":[{"histograms":{"supported_percentiles":[99.9],"details":[{"name":"a","totals":[{"lower_bound":246.66666666666666,"width":0.09999999999999999,"count":1}],"intervals":[],"percentiles":[{"cumulative":246.66666666666666,"interval":null}]}]}}]}"#;
    let mut seen = 0;
    histograms(body.as_bytes(), |histogram| {
        seen += 1;
        assert_eq!(
            histogram.bins[0].lower_bound.to_bits(),
            246.666_666_666_666_66_f64.to_bits()
        );
        assert_eq!(
            histogram.bins[0].width.to_bits(),
            0.099_999_999_999_999_99_f64.to_bits()
        );
        assert_eq!(
            histogram.percentiles,
            [(99.9, Some(246.666_666_666_666_66))]
        );
    })
    .unwrap();
    assert_eq!(seen, 1);
}
