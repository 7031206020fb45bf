//! What people have judged: a folder for each of them in `annotations/MATRIX`, with the session that blinds it and a file of verdicts
//! that only grows. Calls block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_domain::job::Orders;
use assay_judging::people::{PeopleError, Session, check_name};
use assay_judging::records::{Evidence, RawVerdictRecord, RecordError, from_jsonl};

use crate::disk::{Disk, FolderError, ensure_folder};
use crate::secrets::{SecretError, random, write_whole};

/// The folder in the data folder.
pub(crate) const FOLDER: &str = "annotations";
/// People that may judge one matrix.
const PEOPLE_MAX: usize = 100;

/// All of them; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Annotations {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Held while a session is begun or a verdict is added, so that a repetition finds what it repeats. Holds why nothing is written
    /// any more, once a sync has failed: nobody knows then what is on the disk.
    writing: Arc<Mutex<Option<String>>>,
}

/// Why a session or verdict cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnnotationError {
    /// A rule of `judging`.
    #[error(transparent)]
    Rule(#[from] PeopleError),
    /// It was begun otherwise.
    #[error(
        "`{name}` judges {matrix} with orders `{fixed}`, not `{given}`: leave `orders` out, or begin under another name"
    )]
    Orders {
        /// The person.
        name: String,
        /// The matrix.
        matrix: String,
        /// As it was begun.
        fixed: &'static str,
        /// What was asked.
        given: &'static str,
    },
    /// Another verdict on what was judged.
    #[error("`{name}` has judged presentation {id} otherwise: verdicts are never changed")]
    Judged {
        /// The person.
        name: String,
        /// The presentation.
        id: String,
    },
    /// Too many people.
    #[error("{PEOPLE_MAX} people judge {matrix} already, as many as may")]
    Crowded {
        /// The matrix.
        matrix: String,
    },
    /// An earlier sync failed.
    #[error(
        "nothing is kept any more, since a verdict could not be made durable ({reason}): restart the coordinator on a sound disk"
    )]
    Poisoned {
        /// Why that failed.
        reason: String,
    },
    /// The disk.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Folders.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Writing as a whole, or randomness.
    #[error(transparent)]
    Whole(#[from] SecretError),
    /// A file that is no session.
    #[error("{path} is no session", path = path.display())]
    Session {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file that holds no verdicts.
    #[error(transparent)]
    Records(#[from] RecordError),
}

/// What became of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    /// It was there.
    pub(crate) repeated: bool,
    /// Verdicts of the session.
    pub(crate) judged: usize,
}

impl Annotations {
    /// Those of a data folder.
    pub(crate) fn new(disk: Arc<dyn Disk>, data_dir: &Path) -> Self {
        Self { disk, root: data_dir.join(FOLDER), writing: Arc::default() }
    }

    fn writing(&self) -> Result<MutexGuard<'_, Option<String>>, AnnotationError> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match &*writing {
            Some(reason) => Err(AnnotationError::Poisoned { reason: reason.clone() }),
            None => Ok(writing),
        }
    }

    fn folder(&self, matrix: &str, name: &str) -> Result<PathBuf, AnnotationError> {
        check_name(name)?;
        Ok(self.root.join(matrix).join(name))
    }

    /// A person's session, if they have begun one.
    pub(crate) fn session(&self, matrix: &str, name: &str) -> Result<Option<Session>, AnnotationError> {
        let path = self.folder(matrix, name)?.join("session.json");
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AnnotationError::Io { action: "read", path, source }),
            Ok(bytes) => {
                let session = serde_json::from_slice(&bytes);
                session.map(Some).map_err(|source| AnnotationError::Session { path, source })
            }
        }
    }

    /// Goes on with a person's session, or begins one: whole or not at all, durable, and for its owner alone.
    pub(crate) fn go_on(
        &self,
        matrix: &str,
        name: &str,
        asked: Option<Orders>,
        usual: Orders,
    ) -> Result<Session, AnnotationError> {
        let _writing = self.writing()?;
        if let Some(found) = self.session(matrix, name)? {
            return match asked.filter(|asked| *asked != found.orders) {
                None => Ok(found),
                Some(given) => Err(AnnotationError::Orders {
                    name: name.to_owned(),
                    matrix: matrix.to_owned(),
                    fixed: orders_word(found.orders),
                    given: orders_word(given),
                }),
            };
        }
        if self.people(matrix)?.len() >= PEOPLE_MAX {
            return Err(AnnotationError::Crowded { matrix: matrix.to_owned() });
        }
        let session = Session::begin(matrix, name, asked.unwrap_or(usual), random()?)?;
        let folder = self.folder(matrix, name)?;
        ensure_folder(&*self.disk, &folder)?;
        let path = folder.join("session.json");
        let text = serde_json::to_vec_pretty(&session);
        let text = text.map_err(|source| AnnotationError::Session { path: path.clone(), source })?;
        // There before the session is, so that adding to it changes no folder.
        write_whole(&folder.join("verdicts.jsonl"), b"", 0o600)?;
        write_whole(&path, &text, 0o600)?;
        Ok(session)
    }

    /// A person's verdicts. A last line that was cut off is none: its call was never answered.
    pub(crate) fn verdicts(&self, session: &Session) -> Result<Vec<RawVerdictRecord>, AnnotationError> {
        let path = self.folder(&session.matrix, &session.name)?.join("verdicts.jsonl");
        let text = read_lines(&path)?;
        Ok(from_jsonl(&path.display().to_string(), &text)?)
    }

    /// Adds a verdict; it is on disk when this answers.
    pub(crate) fn add(
        &self,
        session: &Session,
        verdict: &RawVerdictRecord,
    ) -> Result<Added, AnnotationError> {
        let mut writing = self.writing()?;
        let known = self.verdicts(session)?;
        let same = |one: &&RawVerdictRecord| (&one.pair_id, one.pass) == (&verdict.pair_id, verdict.pass);
        if let Some(found) = known.iter().find(same) {
            return match text(found) == text(verdict) {
                true => Ok(Added { repeated: true, judged: known.len() }),
                false => Err(AnnotationError::Judged {
                    name: session.name.clone(),
                    id: format!("{}-{}", verdict.pair_id, verdict.pass),
                }),
            };
        }
        let path = self.folder(&session.matrix, &session.name)?.join("verdicts.jsonl");
        let line = serde_json::to_string(verdict);
        let line = line.map_err(|source| AnnotationError::Session { path: path.clone(), source })? + "\n";
        let failed = |source| AnnotationError::Io { action: "add to", path: path.clone(), source };
        let mut file = open_after_whole_lines(&path).map_err(failed)?;
        if let Err(source) = file.write_all(line.as_bytes()).and_then(|()| file.sync_all()) {
            *writing = Some(source.to_string());
            return Err(failed(source));
        }
        Ok(Added { repeated: false, judged: known.len() + 1 })
    }

    /// Who has begun to judge a matrix, by name.
    pub(crate) fn people(&self, matrix: &str) -> Result<Vec<String>, AnnotationError> {
        let folder = self.root.join(matrix);
        let failed = |source| AnnotationError::Io { action: "list", path: folder.clone(), source };
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if entry.path().join("session.json").exists() {
                names.extend(entry.file_name().to_str().map(str::to_owned));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// The word of `orders` in messages.
pub(crate) const fn orders_word(orders: Orders) -> &'static str {
    match orders {
        Orders::Single => "single",
        Orders::Both => "both",
        Orders::Full => "full",
    }
}

fn text(verdict: &RawVerdictRecord) -> Option<&str> {
    match &verdict.evidence {
        Evidence::Text { text } => Some(text),
        Evidence::Logprobs(_) | Evidence::None => None,
    }
}

fn read_lines(path: &Path) -> Result<String, AnnotationError> {
    let mut text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => {
            read.map_err(|source| AnnotationError::Io { action: "read", path: path.to_owned(), source })?
        }
    };
    text.truncate(text.rfind('\n').map_or(0, |last| last + 1));
    Ok(text)
}

/// What an interrupted call left of a line goes before the next is written.
fn open_after_whole_lines(path: &Path) -> io::Result<File> {
    let whole = fs::read(path)?.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let file = OpenOptions::new().append(true).open(path)?;
    file.set_len(whole as u64)?;
    Ok(file)
}
