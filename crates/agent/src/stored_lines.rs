//! Lines of an attempt that are stored part by part: its metrics, and what the attempts after it must have.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_domain::segment::Lines;

use crate::courier::Courier;
use crate::log::Written;
use crate::segments::{Growing, Segments};

/// Lines that are stored part by part. Clones are the same lines.
#[derive(Clone)]
pub struct StoredLines {
    file: Arc<Growth>,
    segments: Arc<Segments>,
}

struct Growth {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Made with the first line: most attempts have none.
    file: Option<File>,
    written: Written,
}

impl StoredLines {
    /// Lines in a file at `path`, whose parts wait in `parts` while they are uploaded.
    pub(crate) fn new(of: Lines, path: PathBuf, parts: PathBuf, courier: &Courier) -> Self {
        let file = Arc::new(Growth { path, state: Mutex::default() });
        let segments = Segments::new(of, file.clone(), courier.clone(), parts);
        Self { file, segments: Arc::new(segments) }
    }

    /// Adds a line, without its line break.
    ///
    /// # Errors
    /// The disk's.
    pub fn add(&self, line: &str) -> io::Result<()> {
        self.file.add(line)
    }

    /// Uploads what is new. What goes wrong is said in the process's log and tried again with the next part.
    pub async fn upload(&self) {
        self.segments.upload().await;
    }

    /// Uploads all that is left, if the coordinator takes it in time.
    pub async fn finish(&self) {
        self.segments.finish().await;
    }

    /// Uploads what is new every so often, for as long as it is polled.
    pub(crate) async fn keep(&self) {
        self.segments.keep().await;
    }
}

impl Growth {
    fn add(&self, line: &str) -> io::Result<()> {
        let mut state = self.lock();
        let State { file, written } = &mut *state;
        let file = match file {
            Some(file) => file,
            None => file.insert(File::create(&self.path)?),
        };
        file.write_all(format!("{line}\n").as_bytes())?;
        written.bytes += line.len() as u64 + 1;
        written.lines += 1;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Growing for Growth {
    fn path(&self) -> &Path {
        &self.path
    }

    fn written(&self) -> Written {
        self.lock().written
    }
}
