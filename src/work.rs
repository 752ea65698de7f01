//! Threads for work that takes long once it is begun: a [`Lane`] is one thread, and what is given to
//! it is done one after the other.
//!
//! Polls and bodies have a lane each, so that neither waits for the other, nor for what waits
//! itself: names that are looked up, passwords that are checked, files that are read are for the
//! runtime's own threads. One thread a lane also keeps memory small, since each thread that
//! allocates much keeps a part of the heap to itself.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The end of polls: new names, layout, values.
pub static POLLS: Lane = Lane(LazyLock::new(|| thread("polls")));

/// Expositions of others that are read: those of Envoy do not wait for them.
pub static SOURCES: Lane = Lane(LazyLock::new(|| thread("sources")));

/// Bodies that are compressed.
pub static BODIES: Lane = Lane(LazyLock::new(|| thread("bodies")));

/// One thread for work of one kind.
#[derive(Debug)]
pub struct Lane(LazyLock<Option<Runtime>>);

/// A runtime that nobody runs is still a place for blocking work, with as many threads as it says.
fn thread(name: &str) -> Option<Runtime> {
    Builder::new_current_thread()
        .thread_name(name)
        .max_blocking_threads(1)
        // A new thread might get another part of the heap.
        .thread_keep_alive(Duration::from_hours(24))
        .build()
        .ok()
}

impl Lane {
    /// Does work on the lane's thread, behind what it was given before. A panic there is the error of
    /// the handle. Without such a thread the runtime's own do it.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match &*self.0 {
            Some(runtime) => runtime.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }
}
