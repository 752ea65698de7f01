//! Compressed bodies in two parts: what a poll brought, compressed once, and the end of the body,
//! which is another for each scrape.
//!
//! A gzip body is one member, since not every reader goes on after the first (curl gives up): the
//! first part ends at a whole byte, the end is a deflate stream of its own behind it, and the
//! checksum runs over both. A zstd body is two frames, which its every reader takes for one.

use std::cell::RefCell;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::PIECE;
use crate::negotiate::{Encoding, Format};

/// 1.5 GB/s on a text of 100 MB. Level 1 is a fifth faster and makes the body half as large again;
/// level 3 takes two thirds more time to make a body of 2 MB smaller by a twentieth and one of 100 MB
/// not at all; level 6, which others use, takes five times as long for a fifth.
const GZIP_LEVEL: u32 = 2;

/// 2 GB/s on the same text, for a smaller body than that of gzip. Level 3 makes it 2 % smaller and
/// takes 13 % longer.
const ZSTD_LEVEL: i32 = 1;

/// How far back zstd looks for what repeats, as a power of two. 128 KiB stay in the processor's cache,
/// which saves up to a seventh of the time, and a text repeats itself from line to line: it grows by
/// 2 %. In protobuf the labels of the family before are what repeats, and a body grows by half.
const fn zstd_window(format: Format) -> u32 {
    match format {
        Format::Protobuf => 19,
        Format::Text | Format::OpenMetrics | Format::OpenMetricsDraft => 17,
    }
}

/// What is kept is sent as it lies there, in fewer and larger writes than what is made on the way.
const KEPT_PIECE: usize = 4 * PIECE;

/// RFC 1952: deflate, no flags, no time, from no known system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

thread_local! {
    // For the ends of bodies, which are small: to make one of these takes longer than to use it.
    static DEFLATE: RefCell<Compress> =
        RefCell::new(Compress::new(Compression::new(GZIP_LEVEL), false));
    static ZSTD: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// The shared part of a body.
#[derive(Debug)]
pub(super) struct Compressed {
    pieces: Vec<Bytes>,
    encoding: Encoding,
    checksum: Crc,
    /// Bytes that went in, as far as gzip counts them.
    length: u32,
}

impl Compressed {
    /// Compresses what `write` appends to an empty buffer, until it appends nothing.
    pub(super) fn of(
        encoding: Encoding,
        format: Format,
        mut write: impl FnMut(&mut Vec<u8>),
    ) -> io::Result<Self> {
        let mut sink = Sink::default();
        let mut checksum = Crc::new();
        let mut length = 0_u32;
        let mut piece = Vec::with_capacity(PIECE + PIECE / 8);
        let mut next = |piece: &mut Vec<u8>| {
            piece.clear();
            write(piece);
            !piece.is_empty()
        };
        match encoding {
            Encoding::Identity => {
                while next(&mut piece) {
                    sink.write_all(&piece)?;
                }
            }
            Encoding::Gzip => {
                let mut deflate = Compress::new(Compression::new(GZIP_LEVEL), false);
                sink.write_all(&GZIP_HEADER)?;
                while next(&mut piece) {
                    checksum.update(&piece);
                    length = length.wrapping_add(truncated(piece.len()));
                    sink.deflate(&mut deflate, &piece, FlushCompress::None)?;
                }
                sink.deflate(&mut deflate, &[], FlushCompress::Sync)?;
            }
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
                encoder.window_log(zstd_window(format))?;
                while next(&mut piece) {
                    encoder.write_all(&piece)?;
                }
                sink = encoder.finish()?;
            }
        }
        Ok(Self {
            pieces: sink.finish(),
            encoding,
            checksum,
            length,
        })
    }

    /// The piece at a place.
    pub(super) fn piece(&self, at: usize) -> Option<Bytes> {
        self.pieces.get(at).cloned()
    }

    /// The size of all pieces.
    pub(super) fn size(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// What follows the pieces: the end of the body, compressed.
    pub(super) fn end(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self.encoding {
            Encoding::Identity => Ok(plain.to_vec()),
            Encoding::Zstd => ZSTD.with_borrow_mut(|zstd| {
                let zstd = match zstd {
                    Some(zstd) => zstd,
                    None => zstd.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
                };
                zstd.compress(plain)
            }),
            Encoding::Gzip => {
                let mut sink = Sink::default();
                DEFLATE.with_borrow_mut(|deflate| {
                    deflate.reset();
                    sink.deflate(deflate, plain, FlushCompress::Finish)
                })?;
                let mut checksum = Crc::new();
                checksum.combine(&self.checksum);
                checksum.update(plain);
                let length = self.length.wrapping_add(truncated(plain.len()));
                sink.write_all(&checksum.sum().to_le_bytes())?;
                sink.write_all(&length.to_le_bytes())?;
                Ok(sink.finish().concat())
            }
        }
    }
}

/// A length as gzip counts it: the rest by 2^32.
#[expect(clippy::cast_possible_truncation, reason = "that is the rest")]
const fn truncated(length: usize) -> u32 {
    length as u32
}

/// Cuts what is written into pieces, so that nothing large is copied when it grows.
#[derive(Debug, Default)]
struct Sink {
    full: Vec<Bytes>,
    current: Vec<u8>,
}

impl Sink {
    fn make_room(&mut self) {
        if self.current.len() == self.current.capacity() {
            let full = std::mem::replace(&mut self.current, Vec::with_capacity(KEPT_PIECE));
            if !full.is_empty() {
                self.full.push(full.into());
            }
        }
    }

    fn deflate(
        &mut self,
        deflate: &mut Compress,
        mut input: &[u8],
        flush: FlushCompress,
    ) -> io::Result<()> {
        loop {
            self.make_room();
            let before = deflate.total_in();
            let status = deflate.compress_vec(input, &mut self.current, flush)?;
            let taken = deflate.total_in() - before;
            let taken = usize::try_from(taken).unwrap_or(usize::MAX);
            input = input.get(taken..).unwrap_or_default();
            let has_room = self.current.len() < self.current.capacity();
            let done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => input.is_empty() && has_room,
            };
            if done {
                return Ok(());
            }
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.current.is_empty() {
            // The last one keeps no room that it does not need.
            self.full.push(Bytes::copy_from_slice(&self.current));
        }
        self.full
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.make_room();
        let room = self.current.capacity() - self.current.len();
        let (now, _) = bytes.split_at(room.min(bytes.len()));
        self.current.extend_from_slice(now);
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn plain(encoding: Encoding, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Identity => out.extend_from_slice(body),
            // A reader of one member: it stops at the end of the first.
            Encoding::Gzip => {
                let mut reader = flate2::bufread::GzDecoder::new(body);
                reader.read_to_end(&mut out).unwrap();
                assert!(reader.into_inner().is_empty(), "one member");
            }
            Encoding::Zstd => out = zstd::stream::decode_all(body).unwrap(),
        }
        out
    }

    #[test]
    fn both_parts_are_read_as_one() {
        let numbers = |seed: u64| {
            (0..40_000_u64)
                .map(|at| (at * at * seed).to_string())
                .collect::<String>()
                .into_bytes()
        };
        let cases = [
            ("nothing", vec![], vec![]),
            ("only an end", vec![], b"end".to_vec()),
            ("no end", vec![b"body".to_vec()], vec![]),
            (
                "large",
                vec![numbers(3), b"x".to_vec(), numbers(7)],
                numbers(5),
            ),
            ("same", vec![vec![b'a'; 1 << 20]; 3], vec![b'a'; 10]),
        ];
        for (name, pieces, end) in cases {
            for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
                let mut rest = pieces.iter();
                let compressed = Compressed::of(encoding, Format::Text, |out| {
                    out.extend_from_slice(rest.next().map_or(&[], Vec::as_slice));
                })
                .unwrap();
                for end in [&end[..], b"another"] {
                    let mut body = compressed.pieces.concat();
                    assert_eq!(body.len(), compressed.size());
                    body.extend(compressed.end(end).unwrap());
                    let want = [&pieces.concat(), end].concat();
                    assert!(plain(encoding, &body) == want, "{name} {encoding:?}");
                }
            }
        }
    }
}
