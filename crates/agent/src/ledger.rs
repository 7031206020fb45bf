//! Lines of an attempt that the attempts after it must have: added here, uploaded when asked.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use assay_domain::segment::Lines;

use crate::courier::Courier;
use crate::log::Written;
use crate::segments::{Growing, Segments};

/// Lines that are stored part by part. Clones are the same lines.
#[derive(Clone)]
pub struct Ledger {
    file: Arc<Growth>,
    segments: Arc<Segments>,
}

struct Growth {
    path: PathBuf,
    state: Mutex<(File, Written)>,
}

impl Ledger {
    pub(crate) fn new(path: PathBuf, courier: &Courier) -> io::Result<Self> {
        let parts = path.with_extension("parts");
        let state = Mutex::new((File::create(&path)?, Written::default()));
        let file = Arc::new(Growth { path, state });
        let segments = Segments::new(Lines::Ledger, file.clone(), courier.clone(), parts);
        Ok(Self { file, segments: Arc::new(segments) })
    }

    /// Adds a line, without its line break.
    ///
    /// # Errors
    /// The disk's.
    pub fn add(&self, line: &str) -> io::Result<()> {
        let mut state = self.file.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, written) = &mut *state;
        file.write_all(format!("{line}\n").as_bytes())?;
        written.bytes += line.len() as u64 + 1;
        written.lines += 1;
        Ok(())
    }

    /// Uploads what is new. What goes wrong is said in the process's log and tried again with the next part.
    pub async fn upload(&self) {
        self.segments.upload().await;
    }

    /// Uploads all that is left, if the coordinator takes it in time.
    pub async fn finish(&self) {
        self.segments.finish().await;
    }
}

impl Growing for Growth {
    fn path(&self) -> &Path {
        &self.path
    }

    fn written(&self) -> Written {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
