//! Configuration files: read with a bound, remembered by content, and looked at again.
//!
//! Contents are compared, not times, so that it makes no difference how a file is replaced: written
//! over, renamed over, or swapped behind a symbolic link as Kubernetes does. What is new is taken
//! once it was found the same twice, not while it is being written.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ring::digest;

/// Largest file that is read: a hundred times what people write, and no accident.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Files with what was found in them, to tell later whether they are still the same.
#[derive(Debug, Default)]
pub struct Files(Vec<(PathBuf, Content)>);

/// What tells one content from another; none: it could not be read.
type Content = Option<Vec<u8>>;

impl Files {
    /// Reads a file, and remembers it whatever comes of that.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let read = read(path);
        let content = read.as_ref().ok().map(|bytes| content(bytes));
        self.0.push((path.to_owned(), content));
        read
    }

    /// Reads a text.
    pub fn read_text(&mut self, path: &Path) -> io::Result<String> {
        String::from_utf8(self.read(path)?).map_err(|_| io::Error::other("it is not UTF-8 text"))
    }

    /// The hash of all that was read, in hexadecimal; nothing where nothing was.
    pub fn hash(&self) -> Option<String> {
        let mut all = Vec::new();
        for (_, content) in &self.0 {
            all.extend_from_slice(content.as_ref()?);
        }
        let mut hash = String::new();
        for byte in content(&all) {
            // Writing to a String cannot fail.
            let _ = write!(hash, "{byte:02x}");
        }
        (!self.0.is_empty()).then_some(hash)
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something else is in them now.
    pub fn have_changed(&self) -> bool {
        self.changed().is_some()
    }

    /// What is in them now, where that is something else.
    fn changed(&self) -> Option<Vec<Content>> {
        let now = |path: &Path| read(path).ok().map(|bytes| content(&bytes));
        let now: Vec<_> = self.0.iter().map(|(path, _)| now(path)).collect();
        let then = self.0.iter().map(|(_, content)| content);
        (!now.iter().eq(then)).then_some(now)
    }
}

fn content(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?.take(MAX_FILE + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// Files that are looked at again and again.
#[derive(Debug, Default)]
pub struct Watched {
    /// What the last attempt read.
    files: Files,
    /// What was found at the last look, where that is something else.
    next: Option<Vec<Content>>,
}

impl Watched {
    /// Starts from what was read.
    pub fn new(files: Files) -> Self {
        Self { files, next: None }
    }

    /// Looks at the files: whether they have other content, and had it at the last look too.
    pub fn look(&mut self) -> bool {
        let found = self.files.changed();
        let settled = found.is_some() && found == self.next;
        self.next = found;
        settled
    }

    /// Whether the last look found what is to be looked at once more.
    pub fn is_unsettled(&self) -> bool {
        self.next.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_taken_once_it_stays() {
        let dir = std::env::temp_dir().join(format!("envoy-exporter-files-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("one");
        let mut files = Files::default();
        assert_eq!(files.read_text(&path).unwrap(), "one");
        let hash = files.hash();
        let mut watched = Watched::new(files);
        assert!(!watched.look(), "the same");
        write("two");
        assert!(!watched.look(), "found once");
        write("three");
        assert!(!watched.look(), "something else again");
        assert!(watched.is_unsettled());
        assert!(watched.look(), "found twice");
        write("one");
        assert!(!watched.look(), "as it was read");
        assert!(!watched.is_unsettled());
        std::fs::remove_file(&path).unwrap();
        assert!(!watched.look(), "gone");
        assert!(watched.look(), "still gone");
        let mut files = Files::default();
        assert!(files.read(&path).is_err());
        assert_eq!(files.hash(), None, "there is nothing to hash");
        write("one");
        let mut files = Files::default();
        files.read(&path).unwrap();
        assert_eq!(files.hash(), hash);
        assert!(files.read(&dir).is_err(), "a folder is no file");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
