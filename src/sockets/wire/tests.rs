use super::*;

/// What a kernel answered when it was asked for its sockets, in datagrams.
fn recorded() -> Vec<Vec<u8>> {
    let text = include_str!("../../../testdata/sockets/dump.txt");
    let datagrams = text.lines().filter(|line| !line.starts_with('#'));
    datagrams
        .map(|line| {
            let digits = line.as_bytes().chunks(2);
            let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            digits.map(byte).collect()
        })
        .collect()
}
