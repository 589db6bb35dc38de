//! Where a head ends (RFC 9112, section 2.1).

/// Bytes that are looked at together.
const CHUNK: usize = 64;

/// The most bytes of empty lines and white space that may stand before a start line.
pub(super) const MAX_LEAD: usize = 64;

/// The length of the empty lines and white space before the start line; as long as `bytes` if there is nothing else.
#[inline]
pub(super) fn leading(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(b'\r' | b'\n' | b' ' | b'\t') => {
            let looked_at = bytes.get(..MAX_LEAD).unwrap_or(bytes);
            looked_at.iter().position(|byte| !is_blank(*byte)).unwrap_or(looked_at.len())
        }
        _ => 0,
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | b'\t')
}

/// The index just past the empty line that ends the head in `buf`; its lines may end in CRLF or LF.
///
/// `scanned` starts at 0 and says on return where to go on once more bytes are there: no byte before it is looked at
/// again, so a head that arrives byte by byte costs linear work.
pub(crate) fn find_head_end(buf: &[u8], scanned: &mut usize) -> Option<usize> {
    #[cfg(test)]
    work::add(buf.len().saturating_sub(*scanned));
    // An empty line before the start line ends nothing.
    let mut at = (*scanned).max(leading(buf));
    while let Some(window) = buf.get(at..).and_then(<[u8]>::first_chunk) {
        if has_close_feeds(window)
            && let Some(end) = search(buf, at, at + CHUNK, scanned)
        {
            return Some(end);
        }
        at += CHUNK;
    }
    search(buf, at, buf.len(), scanned)
}

/// Whether one of the first [`CHUNK`] bytes is a line feed with another one or two bytes behind it. Nothing else can
/// end a head, and a compiler turns this into a few vector instructions where a search for line feeds would stop at
/// every line.
#[inline]
fn has_close_feeds(window: &[u8; CHUNK + 2]) -> bool {
    let (Some(here), Some(behind), Some(beyond)) = (
        window.first_chunk::<CHUNK>(),
        window.get(1..).and_then(<[u8]>::first_chunk::<CHUNK>),
        window.last_chunk::<CHUNK>(),
    ) else {
        return true;
    };
    let mut found = 0;
    for ((here, behind), beyond) in here.iter().zip(behind).zip(beyond) {
        found |= u8::from(*here == b'\n') & (u8::from(*behind == b'\n') | u8::from(*beyond == b'\n'));
    }
    found != 0
}

/// Searches line by line for a line feed in `from..to` that an empty line follows, and says in `scanned` where to go on.
fn search(buf: &[u8], from: usize, to: usize, scanned: &mut usize) -> Option<usize> {
    *scanned = to.max(from);
    for index in memchr::memchr_iter(b'\n', buf.get(from..to).unwrap_or_default()) {
        let feed = from + index;
        match (buf.get(feed + 1), buf.get(feed + 2)) {
            (Some(b'\n'), _) => return Some(feed + 2),
            (Some(b'\r'), Some(b'\n')) => return Some(feed + 3),
            (None, _) | (Some(b'\r'), None) => {
                *scanned = feed;
                return None;
            }
            _ => {}
        }
    }
    None
}

/// The index just past the first line of nothing but spaces and tabs behind the start line.
pub(crate) fn find_blank_line(head: &[u8]) -> Option<usize> {
    let mut feeds = memchr::memchr_iter(b'\n', head).filter(|feed| *feed >= leading(head));
    let mut start = feeds.next()? + 1;
    for feed in feeds {
        #[cfg(test)]
        work::add(feed + 1 - start);
        let line = head.get(start..feed)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        start = feed + 1;
        if !line.is_empty() && line.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Some(start);
        }
    }
    None
}

/// Bytes that were looked at for the end of a head: tests hold hostile input to a few times its length.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local! {
        static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn add(bytes: usize) {
        LOOKED_AT.set(LOOKED_AT.get() + bytes);
    }

    /// The bytes so far, on this thread.
    pub(crate) fn take() -> usize {
        LOOKED_AT.take()
    }
}
