//! An index from the history: the lines of its parts are decoded and compressed on all processors, and told to the index in order.

use std::collections::VecDeque;
use std::num::NonZero;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use assay_domain::Event;

use super::EngineError;
use super::archive::{Archive, push_changes};
use super::history::{Line, Part, Text};
use crate::disk::Disk;
use crate::index::Change;

/// So much text is handed over at once: some thousand jobs.
const PIECE_BYTES: usize = 16 << 20;

/// Lines of a part, and where what they tell goes.
struct Piece {
    text: Arc<Text>,
    lines: Range<usize>,
    told: SyncSender<Result<Vec<Told>, EngineError>>,
}

/// What lines tell the index.
enum Told {
    /// Of the matrices that finished one after the other.
    Finished(Vec<Change>),
    Happened(Box<Event>),
}

/// Tells an index that is behind all parts, oldest first. Its sequence stays: an interruption leaves it behind, as it was.
pub(super) fn tell(
    disk: &dyn Disk,
    folder: &Path,
    parts: &[Part],
    archive: &mut Archive,
) -> Result<(), EngineError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let ahead = threads + 1;
    let (pieces, waiting) = sync_channel(ahead);
    let waiting = Mutex::new(waiting);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| decode_all(&waiting));
        }
        // The threads end when there will be no more pieces, whatever the outcome.
        let pieces = pieces;
        let mut decoding = VecDeque::new();
        for part in parts {
            let text = Arc::new(Text::read(disk, folder, part)?);
            for lines in pieces_of(&text.lines) {
                if decoding.len() == ahead {
                    take(&mut decoding, archive)?;
                }
                let (told, taken) = sync_channel(1);
                decoding.push_back(taken);
                // There is room for all that are not taken, so this never waits.
                let _ = pieces.send(Piece { text: Arc::clone(&text), lines, told });
            }
        }
        while !decoding.is_empty() {
            take(&mut decoding, archive)?;
        }
        Ok(())
    })
}

/// Whole lines, so many bytes of them at once; a longer line is a piece of its own.
fn pieces_of(text: &[u8]) -> Vec<Range<usize>> {
    let (mut pieces, mut start, mut end) = (Vec::new(), 0, 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if end > start && end - start + line.len() > PIECE_BYTES {
            pieces.push(start..end);
            start = end;
        }
        end += line.len();
    }
    if end > start {
        pieces.push(start..end);
    }
    pieces
}

/// The oldest piece, into the index.
fn take(
    decoding: &mut VecDeque<Receiver<Result<Vec<Told>, EngineError>>>,
    archive: &mut Archive,
) -> Result<(), EngineError> {
    let Some(oldest) = decoding.pop_front() else { return Ok(()) };
    for told in oldest.recv().map_err(|_| EngineError::Panicked)?? {
        match told {
            Told::Finished(changes) => archive.change(changes)?,
            Told::Happened(event) => archive.happened(archive.applied_sequence(), &event)?,
        }
    }
    Ok(())
}

/// Decodes pieces until there are no more.
fn decode_all(waiting: &Mutex<Receiver<Piece>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Piece { text, lines, told }) = next else { return };
        // Nobody takes it after an error.
        let _ = told.send(decode(&text, lines));
    }
}

fn decode(text: &Text, lines: Range<usize>) -> Result<Vec<Told>, EngineError> {
    let mut told = Vec::new();
    text.each(lines, |line| {
        match line {
            Line::Finished(matrix) => match told.last_mut() {
                Some(Told::Finished(changes)) => push_changes(&matrix, changes)?,
                Some(Told::Happened(_)) | None => {
                    let mut changes = Vec::new();
                    push_changes(&matrix, &mut changes)?;
                    told.push(Told::Finished(changes));
                }
            },
            Line::Happened(event) => told.push(Told::Happened(event)),
        }
        Ok(())
    })?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines_in_order_and_cover_the_text() {
        let line = |bytes: usize| [vec![b'x'; bytes - 1], vec![b'\n']].concat();
        let part = PIECE_BYTES / 4;
        let text = [line(3 * part), line(1), line(2 * part), line(9 * part), line(5)].concat();
        let pieces = pieces_of(&text);
        let lengths: Vec<usize> = pieces.iter().map(Range::len).collect();
        assert_eq!(lengths, [3 * part + 1, 2 * part, 9 * part, 5]);
        assert!(pieces.iter().all(|piece| text[piece.end - 1] == b'\n'));
        assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(pieces_of(b"").is_empty());
    }
}
