//! `capture`: saves a target's admin answers byte for byte, as files that `file://DIR` reads back.
//!
//! The configuration is never asked for, since it may hold secrets; what is asked for is saved
//! whole. An answer that a poll cannot do without must be had; the others are reported.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::transport::{self, Query, Transport};

/// Why nothing useful was saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory that holds something.
    #[error("{0} is not empty; a capture needs a directory of its own")]
    NotEmpty(PathBuf),
    /// A file or directory that cannot be written.
    #[error("{path}: {source}")]
    Write {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An answer that a capture needs.
    #[error(transparent)]
    Transport(#[from] transport::Error),
}

/// What became of one answer.
#[derive(Debug)]
pub struct Saved {
    /// The file.
    pub name: &'static str,
    /// Its size, or why it is not there.
    pub result: Result<usize, transport::Error>,
}

/// Saves every answer; each may take `timeout`.
pub async fn capture(
    transport: &mut Transport,
    dir: &Path,
    timeout: Duration,
) -> Result<Vec<Saved>, Error> {
    let write_error = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    std::fs::create_dir_all(dir).map_err(write_error(dir))?;
    let mut content = std::fs::read_dir(dir).map_err(write_error(dir))?;
    if content.next().is_some() {
        return Err(Error::NotEmpty(dir.to_owned()));
    }
    let mut saved = Vec::new();
    let mut body = Vec::new();
    for query in Query::CAPTURED {
        let name = query.file_name();
        let deadline = Instant::now() + timeout;
        let result = match transport.fetch(query, &mut body, deadline).await {
            Ok(()) => {
                let path = dir.join(name);
                write(&path, &body).await.map_err(write_error(&path))?;
                Ok(body.len())
            }
            Err(error) if query.is_required() => return Err(error.into()),
            Err(error) => Err(error),
        };
        saved.push(Saved { name, result });
    }
    Ok(saved)
}

/// Writes beside and renames, so that no file is ever half there; on a disk that is full none of it
/// is.
async fn write(path: &Path, body: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("part");
    let written = async {
        let mut file = tokio::fs::File::create(&beside).await?;
        file.write_all(body).await?;
        // Writing goes on behind the scenes: only this tells how it ended.
        file.flush().await?;
        file.sync_all().await?;
        tokio::fs::rename(&beside, path).await
    };
    let written = written.await;
    if written.is_err() {
        // The error that is told is the one that made it so.
        let _ = tokio::fs::remove_file(&beside).await;
    }
    written
}
