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

/// All sockets of the datagrams, and whether one ended the list.
fn sockets<'d>(
    datagrams: impl IntoIterator<Item = &'d Vec<u8>>,
    sequence: u32,
) -> Result<(Vec<Socket>, bool), Error> {
    let (mut found, mut ended) = (Vec::new(), false);
    for datagram in datagrams {
        ended |= super::datagram(datagram, sequence, |socket| found.push(socket))?;
    }
    Ok((found, ended))
}

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEAD + payload.len()).unwrap();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(payload);
    message
}

/// A connection with a `TCP_INFO` of so many bytes, each of which is 1.
fn connection(info: usize) -> Vec<u8> {
    let mut payload = vec![INET, 1];
    payload.resize(SOCKET, 0);
    let length = u16::try_from(4 + info).unwrap();
    payload.extend_from_slice(&length.to_ne_bytes());
    payload.extend_from_slice(&INFO.to_ne_bytes());
    payload.resize(payload.len() + info, 1);
    payload
}

#[cfg(target_endian = "little")]
#[test]
fn a_recorded_answer_is_read() {
    let recorded = recorded();
    let (four, ended) = sockets(&recorded, 1).unwrap();
    assert!(ended);
    let (six, ended) = sockets(&recorded, 2).unwrap();
    assert!(ended);
    let of = |found: &[Socket], stage| found.iter().filter(|of| of.stage == stage).count();
    // Listener, client and server; the client that talks to an IPv6 socket; the one that has ended.
    let stages = [Stage::Listening, Stage::Open, Stage::Closing];
    assert_eq!(stages.map(|stage| of(&four, stage)), [2, 4, 1]);
    assert_eq!(stages.map(|stage| of(&six, stage)), [2, 3, 0]);

    let open = four.iter().chain(&six).filter(|of| of.stage == Stage::Open);
    for socket in open.clone() {
        let Info {
            rtt,
            rto,
            congestion_window,
            bytes_sent,
            bytes_received,
            bytes_acked,
            segments_sent,
            retransmits,
            ..
        } = socket.info;
        assert!((1..1000).contains(&rtt), "{socket:?}");
        assert!((200_000..210_000).contains(&rto), "{socket:?}");
        assert!((1..100).contains(&congestion_window), "{socket:?}");
        assert!((2..10).contains(&segments_sent.unwrap()), "{socket:?}");
        assert_eq!(retransmits, 0);
        let (sent, received) = (bytes_sent.unwrap(), bytes_received.unwrap());
        // The FIN of the other side counts.
        let received = received - received % 10;
        assert!(
            (sent, received) == (10, 1000) || (sent, received) == (1000, 10),
            "{socket:?}"
        );
        // The SYN counts on the side that connects.
        let acked = bytes_acked.unwrap();
        assert!(acked == sent || acked == sent + 1, "{socket:?}");
    }
    // Both ends of a connection agree, also where one is of IPv6 and the other of IPv4.
    for one in open.clone() {
        let ends = |other: &&Socket| (other.local, other.remote) == (one.remote, one.local);
        let others = four.iter().chain(&six).filter(ends).count();
        assert_eq!(others, 1, "{one:?}");
        assert_ne!(one.cookie, 0);
        assert_eq!(one.uid, 0);
    }
    let cookies: std::collections::HashSet<_> = open.clone().map(|of| of.cookie).collect();
    assert_eq!(cookies.len(), open.count());
    // An answer to another question is passed over.
    assert_eq!(sockets(&recorded, 3).unwrap(), (Vec::new(), false));
}

#[test]
fn an_answer_that_is_cut_anywhere_is_an_error_or_all_that_is_there() {
    for whole in recorded() {
        for end in 0..whole.len() {
            for sequence in [1, 2] {
                let cut = &whole[..end];
                let mut count = 0;
                let result = datagram(cut, sequence, |_| count += 1);
                if let Ok(ended) = result {
                    let mut all = 0;
                    let whole_ended = datagram(&whole, sequence, |_| all += 1).unwrap();
                    assert!(count <= all && (!ended || whole_ended));
                }
            }
        }
    }
}

#[test]
fn older_kernels_have_fewer_fields() {
    let ones = |bytes: u32| u64::from_str_radix(&"01".repeat(bytes as usize), 16).unwrap();
    let (four, eight) = (u32::try_from(ones(4)).unwrap(), ones(8));
    for (size, want) in [
        // 3.3, 4.1, 4.2, 4.9, 4.19 and later.
        (104, (None, None, None, None)),
        (136, (Some(eight), None, None, None)),
        (144, (Some(eight), Some(four), None, None)),
        (192, (Some(eight), Some(four), Some(eight), None)),
        (224, (Some(eight), Some(four), Some(eight), Some(eight))),
        (280, (Some(eight), Some(four), Some(eight), Some(eight))),
    ] {
        let (found, _) = sockets(&[message(BY_FAMILY, 0, 1, &connection(size))], 1).unwrap();
        let [socket] = found.as_slice() else {
            panic!("{found:?}");
        };
        let info = socket.info;
        let have = (
            info.bytes_received,
            info.segments_sent,
            info.delivery_rate,
            info.bytes_sent,
        );
        assert_eq!(have, want, "{size}");
        assert_eq!(info.rtt, four);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_the_kernel_may_say_else() {
    let whole = connection(104);
    let mut of_unix = whole.clone();
    of_unix[0] = 1;
    let mut waiting = whole[..SOCKET].to_vec();
    waiting[1] = 5;
    let mut unknown_state = whole.clone();
    unknown_state[1] = 12;
    let mut endless = whole.clone();
    endless[SOCKET..SOCKET + 2].copy_from_slice(&[0, 0]);
    let refused = (-13_i32).to_ne_bytes();
    for (name, datagram, want) in [
        ("a socket", message(BY_FAMILY, 0, 1, &whole), Ok((1, false))),
        (
            "no info any more",
            message(BY_FAMILY, 0, 1, &waiting),
            Ok((0, false)),
        ),
        (
            "another state",
            message(BY_FAMILY, 0, 1, &unknown_state),
            Ok((0, false)),
        ),
        ("the end", message(DONE, 2, 1, &[0; 4]), Ok((0, true))),
        (
            "the end without a code",
            message(DONE, 2, 1, &[]),
            Ok((0, true)),
        ),
        ("nothing", message(NOOP, 0, 1, &[]), Ok((0, false))),
        (
            "an acknowledgement",
            message(ERROR, 0, 1, &[0; 4]),
            Ok((0, false)),
        ),
        (
            "another answer",
            message(ERROR, 0, 2, &refused),
            Ok((0, false)),
        ),
        (
            "a refusal",
            message(ERROR, 0, 1, &refused),
            Err("the kernel refuses to list sockets"),
        ),
        (
            "a late refusal",
            message(DONE, 2, 1, &refused),
            Err("the kernel refuses to list sockets"),
        ),
        (
            "interrupted",
            message(BY_FAMILY, INTERRUPTED, 1, &whole),
            Err("the kernel's list of sockets was interrupted"),
        ),
        (
            "an overrun",
            message(OVERRUN, 0, 1, &[]),
            Err("data was lost"),
        ),
        (
            "another type",
            message(99, 0, 1, &[]),
            Err("a message of another type"),
        ),
        (
            "another family",
            message(BY_FAMILY, 0, 1, &of_unix),
            Err("a socket is of another family"),
        ),
        (
            "an attribute of no length",
            message(BY_FAMILY, 0, 1, &endless),
            Err("an attribute is cut short"),
        ),
        (
            "a short info",
            message(BY_FAMILY, 0, 1, &connection(100)),
            Err("TCP_INFO is cut short"),
        ),
        (
            "a short socket",
            message(BY_FAMILY, 0, 1, &whole[..71]),
            Err("a socket is cut short"),
        ),
        (
            "no head",
            vec![16, 0, 0, 0, 20],
            Err("a message is shorter than its head says"),
        ),
        (
            "a head of no length",
            vec![0; 16],
            Err("a message is shorter than its head says"),
        ),
    ] {
        let found = sockets(&[datagram], 1).map(|(found, ended)| (found.len(), ended));
        match (found, want) {
            (Ok(found), Ok(want)) => assert_eq!(found, want, "{name}"),
            (Err(error), Err(want)) => {
                assert!(error.to_string().ends_with(want), "{name}: {error}");
            }
            (found, _) => panic!("{name}: {found:?}"),
        }
    }
}

#[test]
fn a_request_is_as_long_as_it_says() {
    let request = request(INET6, 7);
    assert_eq!(request.len(), 72);
    assert_eq!(u32_at(&request, 0), Some(72));
    assert_eq!(request.get(16..20), Some(&[INET6, 6, 2, 0][..]));
    let mask = u32_at(&request, 20).unwrap();
    assert_eq!(mask, 0b1111_0011_0110);
}
