//! Quotation marks of typesetters: “”„‟, ‘’‚‛, «», ‹›, and full-width ones, as programs for writing put them in place of what is
//! typed.

/// How far a mark that both opens and closes is followed to its like; without it, what is behind it ends with its line.
const MAX_AMBIGUOUS: usize = 256;

/// The mark that a text starts with, and how long it is.
#[inline]
fn mark(text: &[u8]) -> Option<(char, usize)> {
    let mark = match *text {
        [0xe2, 0x80, last @ (0x98..=0x9f | 0xb9 | 0xba), ..] => char::from_u32(0x2000 | u32::from(last & 0x3f))?,
        [0xc2, 0xab, ..] => '«',
        [0xc2, 0xbb, ..] => '»',
        [0xef, 0xbc, 0x82, ..] => '＂',
        [0xef, 0xbc, 0x87, ..] => '＇',
        _ => return None,
    };
    Some((mark, mark.len_utf8()))
}

/// How long the mark is that a text starts with.
#[inline]
pub(crate) fn len(text: &[u8]) -> Option<usize> {
    mark(text).map(|(_, len)| len)
}

/// How long the mark is that a text ends with.
#[inline]
pub(crate) fn len_at_end(text: &[u8]) -> Option<usize> {
    if text.last()?.is_ascii() {
        return None;
    }
    [3, 2].into_iter().find(|len| text.len() >= *len && self::len(&text[text.len() - len..]) == Some(*len))
}

/// Where the last mark in a text ends.
pub(crate) fn last_end(text: &[u8]) -> Option<usize> {
    if text.is_ascii() {
        return None;
    }
    (0..text.len()).rev().find_map(|from| len(&text[from..]).map(|len| from + len))
}

/// Whether there is a mark in a text.
pub(crate) fn is_any(text: &[u8]) -> bool {
    memchr::memchr3_iter(0xe2, 0xc2, 0xef, text).any(|at| mark(&text[at..]).is_some())
}

/// A text in marks: how long the first one, what it holds and the last one are. What nothing ends goes to the end of the whole;
/// or of its line, where the first one may be something else.
pub(crate) fn quoted(text: &[u8]) -> Option<(usize, usize, usize)> {
    let (opening, len) = mark(text)?;
    let rest = &text[len..];
    let is_ambiguous = matches!(opening, '”' | '’' | '»' | '›');
    let window = if is_ambiguous { &rest[..rest.len().min(MAX_AMBIGUOUS)] } else { rest };
    let mut depth = 0_usize;
    for at in memchr::memchr3_iter(0xe2, 0xc2, 0xef, window) {
        let Some((mark, mark_len)) = mark(&rest[at..]) else { continue };
        if closes(opening, mark, &rest[at + mark_len..]) {
            if depth == 0 {
                return Some((len, at, mark_len));
            }
            depth -= 1;
        } else if mark == opening && !is_ambiguous && !ends_with_word(&rest[..at]) {
            depth += 1;
        }
    }
    let end = if is_ambiguous { memchr::memchr2(b'\r', b'\n', rest) } else { None };
    Some((len, end.unwrap_or(rest.len()), 0))
}

/// The same up to the first mark that may end it; none if none does. `in_vain` keeps what was not found, as nothing behind has it
/// either.
pub(crate) fn closed(text: &[u8], in_vain: &mut Vec<char>) -> Option<(usize, usize, usize)> {
    let (opening, len) = mark(text).filter(|(mark, _)| !in_vain.contains(mark))?;
    let rest = &text[len..];
    let ends = |at: usize| {
        let (mark, mark_len) = mark(&rest[at..])?;
        closes(opening, mark, &rest[at + mark_len..]).then_some((len, at, mark_len))
    };
    let found = memchr::memchr3_iter(0xe2, 0xc2, 0xef, rest).find_map(ends);
    in_vain.extend(found.is_none().then_some(opening));
    found
}

/// Whether a mark with this behind it ends what another opened.
fn closes(opening: char, mark: char, behind: &[u8]) -> bool {
    match (opening, mark) {
        ('“' | '‟' | '”', '”') | ('„', '“' | '”') | ('«', '»') | ('‹', '›') => true,
        // Within a word it is an apostrophe, or opens one.
        ('‘' | '‛' | '’', '’') | ('‚', '‘' | '’') | ('»', '«' | '»') | ('›', '‹' | '›') => {
            !starts_with_word(behind)
        }
        ('＂', '＂') | ('＇', '＇') => true,
        _ => false,
    }
}

fn starts_with_word(text: &[u8]) -> bool {
    let start = text.get(..4).unwrap_or(text);
    start.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()).is_some_and(char::is_alphanumeric)
}

fn ends_with_word(text: &[u8]) -> bool {
    let start = text.iter().rposition(|byte| !(0x80..0xc0).contains(byte));
    start.is_some_and(|start| starts_with_word(&text[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_at_the_mark_that_matches() {
        for (text, inner) in [
            ("“a” b”", "a"),
            ("“it’s «a» ‘b’ „c“ d” e”", "it’s «a» ‘b’ „c“ d"),
            ("“a “b” c” d”", "a “b” c"),
            ("„a“ b“", "a"),
            ("„a” b“", "a"),
            ("”a” b”", "a"),
            ("‘don’t’ b’", "don’t"),
            ("‘don‘t’ b’", "don‘t"),
            ("‘l’été’ b’", "l’été"),
            ("‚a‘ b", "a"),
            ("’a’ b", "a"),
            ("«a “b” ‹c›» d»", "a “b” ‹c›"),
            ("»a« b«", "a"),
            ("»a» b»", "a"),
            ("»«a»« b", "«a"),
            ("‹a› b", "a"),
            ("›a‹ b", "a"),
            ("＂a “b”＂ c", "a “b”"),
            ("＇a＇ c", "a"),
            ("“a\nb” c", "a\nb"),
            ("“a\nb", "a\nb"),
            ("“a “b” c", "a “b” c"),
            ("»a\nb", "a"),
            ("“”", ""),
            ("“", ""),
        ] {
            let (front, len, _) = quoted(text.as_bytes()).unwrap();
            assert_eq!(&text[front..front + len], inner, "{text}");
        }
        assert_eq!(quoted("a“b”".as_bytes()), None);
        assert_eq!(closed("“a “b” c”".as_bytes(), &mut Vec::new()), Some((3, 6, 3)));
        let mut in_vain = Vec::new();
        assert_eq!(closed("“a".as_bytes(), &mut in_vain), None);
        assert_eq!(in_vain, ['“']);
    }

    #[test]
    fn marks_are_told_at_both_ends() {
        for mark in "“”„‟‘’‚‛«»‹›＂＇".chars() {
            let text = format!("a{mark}");
            assert_eq!(len_at_end(text.as_bytes()), Some(mark.len_utf8()), "{text}");
            assert_eq!(last_end(format!("{text}é").as_bytes()), Some(text.len()), "{text}");
            assert!(is_any(text.as_bytes()));
        }
        for text in ["", "a", "é", "→", "ｂ", "…"] {
            assert_eq!((len(text.as_bytes()), len_at_end(text.as_bytes())), (None, None), "{text}");
            assert!(last_end(text.as_bytes()).is_none() && !is_any(text.as_bytes()));
        }
    }
}
