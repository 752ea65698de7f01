//! Answers scrapes: what can be shared by them is made once for a poll.
//!
//! A body that is not compressed is a stream of its own for each reader: kept, it would take more
//! memory than all else. What is compressed is made on a blocking thread at most once for a set of
//! snapshots, format and encoding; scrapes that want it at the same time wait for it together, and
//! all hold the same bytes. Only what was made of snapshots that are still served is kept, so that
//! there are at most as many bodies as kinds of them, for all targets and for each. The own metrics, which change with each scrape, are written
//! behind it. A scrape of selected families makes its own body, which is not kept.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use super::compress::Compressed;
use super::{Body, Selection, Shape};
use crate::negotiate::{Encoding, Format};
use crate::snapshot::Snapshot;
use crate::work;

/// Makes bodies.
#[derive(Debug, Default)]
pub struct Server {
    kept: Mutex<Vec<Kept>>,
}

/// The body of a scrape.
#[derive(Debug)]
pub struct Served {
    /// How it is compressed.
    pub encoding: Encoding,
    /// Its size, where it is known.
    pub size: Option<usize>,
    /// Its pieces.
    pub pieces: Pieces,
}

/// The pieces of a body.
#[derive(Debug)]
pub enum Pieces {
    /// Written as they are read.
    Written(Box<Body>),
    /// Shared with other scrapes.
    Shared(SharedPieces),
}

/// Shared pieces, and one of the scrape's own.
#[derive(Debug)]
pub struct SharedPieces {
    body: Arc<Compressed>,
    next: usize,
    end: Option<Bytes>,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Written(body) => body.next(),
            Self::Shared(shared) => {
                let piece = shared.body.piece(shared.next);
                shared.next += 1;
                piece.or_else(|| shared.end.take())
            }
        }
    }
}

/// A body that is made or being made; nothing when that failed.
type Made = Shared<BoxFuture<'static, Option<Arc<Compressed>>>>;

#[derive(Debug)]
struct Kept {
    key: Key,
    made: Made,
}

/// Snapshots are told apart by their place in memory, which a weak reference keeps from being used
/// again, though not what was there.
#[derive(Clone, Debug)]
struct Key {
    snapshots: Vec<Weak<Snapshot>>,
    format: Format,
    encoding: Encoding,
}

impl Key {
    fn new(snapshots: &[Arc<Snapshot>], format: Format, encoding: Encoding) -> Self {
        Self {
            snapshots: snapshots.iter().map(Arc::downgrade).collect(),
            // The draft's body is the same.
            format: match format {
                Format::OpenMetricsDraft => Format::OpenMetrics,
                other => other,
            },
            encoding,
        }
    }

    fn is_of_same_poll(&self, other: &Self) -> bool {
        let same = |(one, other): (&Weak<_>, &Weak<_>)| Weak::ptr_eq(one, other);
        self.snapshots.len() == other.snapshots.len()
            && self.snapshots.iter().zip(&other.snapshots).all(same)
    }

    /// Whether somebody else still has the snapshots: a target that was polled again has not.
    fn is_served(&self) -> bool {
        self.snapshots.iter().all(|have| have.strong_count() > 0)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.format == other.format
            && self.encoding == other.encoding
            && self.is_of_same_poll(other)
    }
}

impl Server {
    /// The body of a scrape; `own` is what ends it.
    pub async fn serve(
        &self,
        snapshots: Vec<Arc<Snapshot>>,
        shape: &Shape,
        selection: Selection,
        encoding: Encoding,
        own: Vec<u8>,
    ) -> Served {
        if encoding != Encoding::Identity {
            let made = if selection.is_all() {
                self.shared(&snapshots, shape, encoding)
            } else {
                make(
                    snapshots.clone(),
                    shape.clone(),
                    selection.clone(),
                    encoding,
                )
            };
            if let Some(body) = made.await
                && let Ok(end) = body.end(&own)
            {
                return Served {
                    encoding,
                    size: Some(body.size() + end.len()),
                    pieces: Pieces::Shared(SharedPieces {
                        body,
                        next: 0,
                        end: Some(end.into()).filter(|end: &Bytes| !end.is_empty()),
                    }),
                };
            }
        }
        Served {
            encoding: Encoding::Identity,
            size: None,
            pieces: Pieces::Written(Box::new(Body::new(snapshots, shape, &selection, own))),
        }
    }

    /// The body of everything, which another scrape may have made or be making.
    fn shared(&self, snapshots: &[Arc<Snapshot>], shape: &Shape, encoding: Encoding) -> Made {
        let key = Key::new(snapshots, shape.format, encoding);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(have) = kept.iter().find(|have| have.key.is_same(&key)) {
            return have.made.clone();
        }
        kept.retain(|have| have.key.is_served());
        let made = make(
            snapshots.to_vec(),
            shape.clone(),
            Selection::default(),
            encoding,
        );
        kept.push(Kept {
            key,
            made: made.clone(),
        });
        made
    }
}

/// Makes a body on a blocking thread, at once, whoever waits for it.
fn make(
    snapshots: Vec<Arc<Snapshot>>,
    shape: Shape,
    selection: Selection,
    encoding: Encoding,
) -> Made {
    let made = work::BODIES.run(move || {
        let mut body = Body::new(snapshots, &shape, &selection, Vec::new());
        Compressed::of(encoding, shape.format, |out| body.write(out))
    });
    let made = made.map(|made| {
        let body = made.ok().and_then(Result::ok);
        if body.is_none() {
            tracing::error!("a body could not be made; it is sent as it is written");
        }
        body.map(Arc::new)
    });
    made.boxed().shared()
}
