//! The endpoint that a path belongs to: what varies between its requests becomes a placeholder.
//!
//! Segments are judged alone, by the kinds of their characters, by which letters follow each other and by length, never by a
//! dictionary and never by what was seen before: the same path gives the same template on any sensor, and so do two paths that
//! differ in digits only.
//!
//! | placeholder | what it stands for |
//! |---|---|
//! | `{id}` | digits alone, `-` before them or not; two or more digits between separators; three or more behind or before letters |
//! | `{number}` | a decimal fraction, other than `1.0` and its like, which are versions |
//! | `{uuid}` | 8-4-4-4-12 hexadecimal digits, also within a segment |
//! | `{hash}` | seven or more hexadecimal digits, of which some are letters and some are not; any 32 and more |
//! | `{ulid}` | 26 characters of Crockford's base 32, of which some are digits |
//! | `{date}` | `2025-07-03`, `2025-07`, and either with a time of day behind it; `2025-W27`, `2025-Q3` |
//! | `{ip}` | an IPv4 or IPv6 address |
//! | `{mac}` | six pairs of hexadecimal digits with `:` or `-` between them |
//! | `{email}` | an e-mail address |
//! | `{token}` | letters, digits and cases in turns as no word has them, base64 with its `=`, what Kubernetes puts behind the name of a \
//!   deployment for each pod; any segment of more than 64 bytes |
//! | `{more}` | what is behind the first 500 bytes or so of a template |
//!
//! What stays: words, whatever stands between separators and has a single digit (`step-2`), words with one or two digits
//! (`oauth2`, `base64`), versions (`v1`, `v2.1`, `v1beta1`, `1.0`), and percent escapes; and random text that looks like words: a few of a
//! hundred with 20 and more characters of both cases and digits, nearly a quarter with 11, all of one case without digits. A template is
//! a fixed point, and at most [`MAX_TEMPLATE`] bytes long.

use core::net::Ipv6Addr;

/// The most bytes of a template.
pub const MAX_TEMPLATE: usize = 512;

/// Every placeholder that a template may hold.
pub const PLACEHOLDERS: &[&str] =
    &["{id}", "{number}", "{uuid}", "{hash}", "{ulid}", "{date}", "{ip}", "{mac}", "{email}", "{token}", "{more}"];

/// The longest segment that is looked at and kept.
const LONGEST_SEGMENT: usize = 64;
const MORE: &[u8] = b"/{more}";

/// The template of a path (normalized, or all its spellings give templates of their own); the path itself where nothing
/// in it varies. Otherwise it stands in `scratch`, which is overwritten.
#[must_use]
pub fn endpoint_template<'a>(path: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    scratch.clear();
    // What of the path stands in `scratch` already.
    let mut copied = 0;
    let mut start = 0;
    loop {
        let rest = path.get(start..).unwrap_or_default();
        let (segment, kinds) = first_segment(rest);
        let end = start + segment.len();
        let form = judge(segment, kinds);
        if form != Form::Stays {
            scratch.extend_from_slice(path.get(copied..start).unwrap_or_default());
            let begin = scratch.len();
            match form {
                Form::Is(placeholder) => scratch.extend_from_slice(placeholder.as_bytes()),
                Form::Pieces => append_pieces(segment, scratch),
                _ => append_composite(segment, scratch),
            }
            if scratch.len() - begin > LONGEST_SEGMENT {
                scratch.truncate(begin);
                scratch.extend_from_slice(b"{token}");
            }
            copied = end;
        }
        let len = scratch.len() + (end - copied);
        if len > MAX_TEMPLATE {
            scratch.extend_from_slice(path.get(copied..end).unwrap_or_default());
            let room = scratch.get(..=MAX_TEMPLATE - MORE.len()).unwrap_or_default();
            let cut = memchr::memrchr(b'/', room).unwrap_or(0);
            scratch.truncate(cut);
            scratch.extend_from_slice(MORE);
            return scratch;
        }
        start = end + 1;
        if start > path.len() {
            break;
        }
    }
    if copied == 0 {
        return path;
    }
    scratch.extend_from_slice(path.get(copied..).unwrap_or_default());
    scratch
}

/// What becomes of a segment or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Stays,
    Is(&'static str),
    /// It has parts, each with a form of its own.
    Composite,
    /// It is a single part, and all of it is none of what has a placeholder.
    Pieces,
}

/// What stands before the first `/`, and the kinds of its characters.
#[inline]
fn first_segment(rest: &[u8]) -> (&[u8], u16) {
    let mut kinds = 0;
    for (at, byte) in rest.iter().enumerate() {
        if *byte == b'/' {
            return (rest.get(..at).unwrap_or_default(), kinds);
        }
        kinds |= class(*byte);
    }
    (rest, kinds)
}

#[inline]
fn judge(segment: &[u8], kinds: u16) -> Form {
    // Words, which most segments are: without digits only 32 characters can be a hash, only what has both cases a token, and
    // only what has an `@` a name.
    if kinds & (DIGIT | SPECIAL) == 0 && (segment.len() < SHORTEST_TOKEN || kinds & CASE != CASE && segment.len() < 32)
    {
        return Form::Stays;
    }
    judge_closely(segment, kinds)
}

fn judge_closely(segment: &[u8], kinds: u16) -> Form {
    if segment.len() > LONGEST_SEGMENT {
        return Form::Is("{token}");
    }
    if kinds & DIGIT != 0 && is_version(segment) {
        return Form::Stays;
    }
    if kinds == DIGIT {
        return Form::Is("{id}");
    }
    if is_uuid(segment) {
        return Form::Is("{uuid}");
    }
    let has_at = kinds & SPECIAL != 0 && is_email(segment);
    if kinds & DIGIT == 0 {
        return match () {
            () if has_at => Form::Is("{email}"),
            () if is_hash(&Shape { kinds, ..Shape::default() }, segment.len()) => Form::Is("{hash}"),
            () if !may_hold_token(segment, kinds) => Form::Stays,
            () if is_opaque(&Shape::with_kinds(segment, kinds)) || is_padded_base64(segment) => Form::Is("{token}"),
            () => Form::Composite,
        };
    }
    let shape = Shape::with_kinds(segment, kinds);
    if shape.has(SPECIAL) && memchr::memchr(b'{', segment).is_some() {
        return Form::Composite;
    }
    match () {
        () if has_at => Form::Is("{email}"),
        () if let Some(placeholder) = punctuated_number(segment, &shape) => Form::Is(placeholder),
        () if let Some(placeholder) = is_random(&shape, segment.len()) => Form::Is(placeholder),
        () if shape.is_all(ALNUM | CASE) => Form::Pieces,
        () if has_uuid(segment) => Form::Composite,
        () if let Some(placeholder) = colon_address(segment, &shape) => Form::Is(placeholder),
        () if is_opaque(&shape) || is_padded_base64(segment) => Form::Is("{token}"),
        () => Form::Composite,
    }
}

/// Appends a segment with each of its parts in its form.
fn append_composite(segment: &[u8], out: &mut Vec<u8>) {
    match opaque_suffix(segment) {
        Some((before, behind)) => {
            append_parts(before, out);
            out.extend_from_slice(b"{token}");
            out.extend_from_slice(behind);
        }
        None => append_parts(segment, out),
    }
}

fn append_parts(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(byte) = rest.first() {
        let opaque = match byte {
            b'{' => placeholder_len(rest),
            b'%' => escape_len(rest),
            byte if class(*byte) & ALNUM == 0 => 1,
            _ => 0,
        };
        if opaque == 0
            && let Some((uuid, behind)) = rest.split_at_checked(UUID_LEN)
            && is_uuid(uuid)
            && behind.first().is_none_or(|byte| class(*byte) & ALNUM == 0)
        {
            out.extend_from_slice(b"{uuid}");
            rest = behind;
            continue;
        }
        let len = match opaque {
            0 => rest.iter().position(|byte| class(*byte) & ALNUM == 0).unwrap_or(rest.len()),
            len => len,
        };
        let (part, behind) = rest.split_at(len.min(rest.len()));
        if opaque == 0 {
            append_part(part, out);
        } else {
            out.extend_from_slice(part);
        }
        rest = behind;
    }
}

/// Appends letters and digits between separators.
fn append_part(part: &[u8], out: &mut Vec<u8>) {
    let shape = Shape::of(part);
    if shape.is_all(DIGIT) {
        out.extend_from_slice(if part.len() > 1 { b"{id}" } else { part });
    } else if let Some(placeholder) = is_random(&shape, part.len()) {
        out.extend_from_slice(placeholder.as_bytes());
    } else {
        append_pieces(part, out);
    }
}

/// Appends a part with its longer runs of digits replaced, and what is between them judged as if it stood alone: that is
/// what it will do in the template.
fn append_pieces(part: &[u8], out: &mut Vec<u8>) {
    let append_piece = |piece: &[u8], out: &mut Vec<u8>| match is_random(&Shape::of(piece), piece.len()) {
        Some(placeholder) => out.extend_from_slice(placeholder.as_bytes()),
        None => out.extend_from_slice(piece),
    };
    let (mut piece, mut at) = (0, 0);
    while let Some(byte) = part.get(at) {
        if !byte.is_ascii_digit() {
            at += 1;
            continue;
        }
        let run = part.get(at..).unwrap_or_default();
        let len = run.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(run.len());
        if len >= 3 {
            append_piece(part.get(piece..at).unwrap_or_default(), out);
            out.extend_from_slice(b"{id}");
            piece = at + len;
        }
        at += len;
    }
    append_piece(part.get(piece..).unwrap_or_default(), out);
}

/// The kinds of characters.
const DIGIT: u16 = 1;
/// `a`-`f`, `A`-`F`
const HEX: u16 = 2;
/// Letters of Crockford's base 32 beyond those.
const CROCKFORD: u16 = 4;
/// The other letters.
const LETTER: u16 = 8;
/// Upper or lower case, beside the kind of the letter.
const UPPER: u16 = 16;
const LOWER: u16 = 32;
/// What may stand in a token: `-`, `_`, `=`, `~`.
const TOKEN_MARK: u16 = 64;
const DOT: u16 = 128;
/// What asks for a closer look: `@`, `%`, `{`, `}`.
const SPECIAL: u16 = 256;
/// Everything else.
const OTHER: u16 = 512;
const ALNUM: u16 = DIGIT | HEX | CROCKFORD | LETTER;
const CASE: u16 = UPPER | LOWER;

const CLASSES: [u16; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        let letter = match character.to_ascii_lowercase() {
            b'a'..=b'f' => HEX,
            b'i' | b'l' | b'o' | b'u' => LETTER,
            _ => CROCKFORD,
        };
        classes[byte] = match character {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' => letter | LOWER,
            b'A'..=b'Z' => letter | UPPER,
            b'-' | b'_' | b'=' | b'~' => TOKEN_MARK,
            b'.' => DOT,
            b'@' | b'%' | b'{' | b'}' => SPECIAL,
            _ => OTHER,
        };
        byte += 1;
    }
    classes
};

#[inline]
fn class(byte: u8) -> u16 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

/// What the characters of a segment or part are, in sum.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// Every kind in it.
    kinds: u16,
    /// Letters and digits.
    alnum: usize,
    /// How often a letter stands beside a digit.
    turns: usize,
    /// Runs of digits, and of letters as words are written: lower case, upper case, or a capital and lower case.
    runs: usize,
    /// Letters of a run that follow each other in hardly any word.
    odd: usize,
}

impl Shape {
    fn of(text: &[u8]) -> Self {
        Self::with_kinds(text, text.iter().fold(0, |kinds, byte| kinds | class(*byte)))
    }

    /// The shape of a text whose characters' kinds are known. What is counted is counted only where both cases stand together,
    /// or letters and digits without marks: nothing else can be random, so it is not asked how.
    #[inline]
    fn with_kinds(text: &[u8], kinds: u16) -> Self {
        let has_turns = kinds & DIGIT != 0 && kinds & CASE != 0 && kinds & TOKEN_MARK == 0;
        if kinds & !(ALNUM | CASE | TOKEN_MARK) == 0 && (kinds & CASE == CASE || has_turns) {
            return Self::counted(text);
        }
        Self { kinds, ..Self::default() }
    }

    fn counted(text: &[u8]) -> Self {
        let mut shape = Self::default();
        let (mut before, mut odd_behind) = (OTHER, 0_u32);
        for byte in text {
            let kind = class(*byte);
            shape.kinds |= kind;
            if kind & ALNUM != 0 {
                shape.alnum += 1;
                let is_after = before & ALNUM != 0;
                let is_turn = is_after && (kind ^ before) & DIGIT != 0;
                let is_hump = is_after && kind & UPPER != 0 && before & (UPPER | DIGIT) == 0;
                shape.turns += usize::from(is_turn);
                shape.runs += usize::from(is_turn || is_hump || !is_after);
                let follows = odd_behind >> (byte.wrapping_sub(b'a' & 31) & 31) & 1 == 1;
                shape.odd += usize::from(follows && kind & DIGIT == 0 && !is_hump);
            }
            odd_behind = odd_letters_behind(*byte);
            before = kind;
        }
        shape
    }

    const fn has(&self, kind: u16) -> bool {
        self.kinds & kind != 0
    }

    const fn is_all(&self, kinds: u16) -> bool {
        self.kinds & !kinds == 0 && self.kinds != 0
    }

    /// Whether a few characters, of which is known from where they stand that they may be random, are that.
    const fn changes_often(&self) -> bool {
        self.runs >= 3 && self.runs + self.odd >= 5 && (self.odd >= 1 || self.has(DIGIT))
    }
}

/// Whether a segment without digits can have a token for a part: no part has more of anything than the whole, of which at
/// least as many runs and odd letters are counted as it has.
fn may_hold_token(segment: &[u8], kinds: u16) -> bool {
    if kinds & CASE != CASE {
        return false;
    }
    let (mut runs, mut odd, mut odd_behind) = (1_u32, 0, 0);
    for byte in segment {
        odd += odd_behind >> (byte.wrapping_sub(b'a' & 31) & 31) & 1;
        odd_behind = odd_letters_behind(*byte);
        // Upper case, and what is no letter.
        runs += u32::from(!byte.is_ascii_lowercase());
    }
    runs >= 8 || odd >= 1 && runs >= 3 && runs + odd >= 5
}

/// The letters that hardly ever follow this one, as bits, from `a` on; none where it is no letter.
#[inline]
fn odd_letters_behind(byte: u8) -> u32 {
    ODD_BEHIND.get(usize::from(byte)).copied().unwrap_or(0)
}

/// For each letter, those that hardly ever follow it within a word, in the languages of identifiers and their abbreviations.
const ODD: [&[u8]; 26] = [
    b"hoq",
    b"fhkmqwxz",
    b"bgjqxy",
    b"gjqwxz",
    b"j",
    b"jknqw",
    b"fjwxyz",
    b"dghjsy",
    b"hijqwy",
    b"bcfghijklmntvxyz",
    b"bcdgjkqtwxz",
    b"gknqwx",
    b"cghjknxz",
    b"bjqwz",
    b"qz",
    b"jqwz",
    b"abcdefghijkmnqvwxyz",
    b"jqw",
    b"j",
    b"jk",
    b"hjkoqwyz",
    b"dghjkmqrtvwyz",
    b"bcdfgjlmqtuvwxyz",
    b"fhjknoquvwz",
    b"abdfghjkqrwxy",
    b"bdfgjlmnpqrtxyz",
];

/// The same as bits, for every byte.
const ODD_BEHIND: [u32; 256] = {
    let mut all = [0; 256];
    let mut letter = 0;
    while letter < 26 {
        let mut at = 0;
        while at < ODD[letter].len() {
            all[letter + b'a' as usize] |= 1 << (ODD[letter][at] - b'a');
            at += 1;
        }
        all[letter + b'A' as usize] = all[letter + b'a' as usize];
        letter += 1;
    }
    all
};

fn is_hash(shape: &Shape, len: usize) -> bool {
    shape.is_all(HEX | DIGIT | CASE) && (len >= 32 || (len >= 7 && shape.has(DIGIT) && shape.has(HEX)))
}

/// What letters and digits without separators are, when they are no word.
fn is_random(shape: &Shape, len: usize) -> Option<&'static str> {
    if !shape.is_all(ALNUM | CASE) {
        return None;
    }
    if is_hash(shape, len) {
        Some("{hash}")
    } else if shape.is_all(DIGIT) {
        None
    } else if len == 26 && shape.has(DIGIT) && shape.is_all(HEX | CROCKFORD | DIGIT | CASE) {
        Some("{ulid}")
    } else {
        is_opaque(shape).then_some("{token}")
    }
}

/// The fewest letters and digits that are a token by which letters follow each other.
const SHORTEST_TOKEN: usize = 8;

/// Letters and digits that are no words: random text has runs of about two, words of five, and letters in it follow each other
/// that hardly do so in words. With marks in it, only if it has both cases: there, words and numbers stand together. The
/// numbers are such that of some 40,000 identifiers of programs only random ones and a few instructions of processors are tokens.
const fn is_opaque(shape: &Shape) -> bool {
    let Shape { alnum, turns, runs, odd, .. } = *shape;
    let (has_digit, has_cases) = (shape.has(DIGIT), shape.kinds & CASE == CASE);
    if !shape.is_all(ALNUM | CASE | TOKEN_MARK) || !(has_cases || has_digit && !shape.has(TOKEN_MARK)) {
        return false;
    }
    let changes = runs + odd;
    // Digits in turns with letters, short or long.
    (has_digit && !shape.has(TOKEN_MARK) && alnum >= 6 && turns >= 4 && turns * 5 >= alnum * 2)
        || (has_digit && alnum >= 16 && turns * 5 >= alnum && turns >= 4 && turns + odd >= 5 && runs * 4 >= alnum)
        // Letters that do not follow each other.
        || (alnum >= SHORTEST_TOKEN && runs >= 3 && odd >= 1 && changes >= 5 && changes * 9 >= alnum * 4)
        || (alnum >= 10 && runs >= 4 && odd >= 2 && changes >= 6 && changes * 5 >= alnum * 2)
        || (alnum >= 14 && runs >= 6 && odd >= 1 && turns >= 2 && has_cases && changes * 5 >= alnum * 2)
        // Cases in turns.
        || (alnum >= 18 && runs >= 8 && has_cases && runs * 5 >= alnum * 2)
}

/// Base64 that ends in `=`, as such or escaped: as long as it has to be, and no name with an empty value.
fn is_padded_base64(segment: &[u8]) -> bool {
    let (mut text, mut padding) = (segment, 0);
    while let Some(before) = text.strip_suffix(b"=").or_else(|| text.strip_suffix(b"%3D")).filter(|_| padding < 2) {
        (text, padding) = (before, padding + 1);
    }
    let is_base64 = |byte: &u8| class(*byte) & ALNUM != 0 || matches!(byte, b'+' | b'-' | b'_');
    if padding == 0 || (text.len() + padding) % 4 != 0 || text.len() < 10 || !text.iter().all(is_base64) {
        return false;
    }
    Shape::counted(text).changes_often()
}

/// The part of a file or pod that changes with its content or with each start, and what is before and behind it:
/// `index-` and `BxK3d9aQ` and `.js`; `web-` and `7d4b9c6f5-x2x9z`.
fn opaque_suffix(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    const EXTENSIONS: &[&[u8]] = &[
        b".js", b".mjs", b".css", b".map", b".wasm", b".png", b".jpg", b".svg", b".webp", b".gif", b".ico", b".woff",
        b".woff2", b".ttf",
    ];
    const FILE_HASH: usize = 8;
    if let Some(dot) = memchr::memrchr(b'.', segment).filter(|dot| *dot > FILE_HASH && segment.len() - dot <= 6) {
        let (name, extension) = segment.split_at(dot);
        let (before, hash) = name.split_at(dot - FILE_HASH);
        let is_named = matches!(before.last(), Some(b'-' | b'.')) && EXTENSIONS.contains(&extension);
        let shape = Shape::counted(if is_named { hash } else { &[] });
        let is_hash = shape.is_all(ALNUM | CASE | TOKEN_MARK)
            && shape.kinds & CASE == CASE
            && !hash.iter().any(|byte| matches!(byte, b'=' | b'~'))
            && shape.changes_often();
        return is_hash.then_some((before, extension));
    }
    // Kubernetes writes random names without vowels, lest they be words.
    const POD: usize = 5;
    let is_of_pod = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() && !b"aeiouy".contains(byte);
    let letters = |text: &[u8]| text.iter().filter(|byte| !byte.is_ascii_digit()).count();
    let (name, pod) = segment.split_at_checked(segment.len().checked_sub(POD)?)?;
    let name = name.strip_suffix(b"-")?;
    let before = memchr::memrchr(b'-', name)? + 1;
    let (before, set) = name.split_at(before);
    let is_pod = (8..=10).contains(&set.len())
        && set.iter().chain(pod).all(is_of_pod)
        && set.iter().any(u8::is_ascii_digit)
        && letters(set) >= 2
        && letters(pod) >= 1;
    is_pod.then_some((before, &[]))
}

/// An IPv6 address or a hardware address, with its colons as such or escaped.
fn colon_address(segment: &[u8], shape: &Shape) -> Option<&'static str> {
    const MOST: usize = 39;
    if !shape.is_all(HEX | DIGIT | CASE | TOKEN_MARK | OTHER | SPECIAL) {
        return None;
    }
    let mut room = [0; MOST];
    let (mut len, mut rest) = (0, segment);
    while let Some((byte, behind)) = rest.split_first() {
        rest = if *byte == b'%' { behind.strip_prefix(b"3A")? } else { behind };
        *room.get_mut(len)? = match byte {
            b'%' => b':',
            b':' | b'-' => *byte,
            byte if byte.is_ascii_hexdigit() => *byte,
            _ => return None,
        };
        len += 1;
    }
    let text = room.get(..len)?;
    let is_mac = |mark: u8| {
        len == 17
            && text
                .iter()
                .enumerate()
                .all(|(at, byte)| if at % 3 == 2 { *byte == mark } else { *byte != b':' && *byte != b'-' })
    };
    if is_mac(b':') || is_mac(b'-') && shape.has(HEX) {
        return Some("{mac}");
    }
    let is_ip = memchr::memchr(b':', text).is_some()
        && core::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    is_ip.then_some("{ip}")
}

/// `v1`, `v2.1`, `v1beta1`, `V3`; and `1.0`.
fn is_version(segment: &[u8]) -> bool {
    match segment {
        [major, b'.', minor] => major.is_ascii_digit() && minor.is_ascii_digit() || is_v_version(segment),
        _ => is_v_version(segment),
    }
}

fn is_v_version(segment: &[u8]) -> bool {
    let [b'v' | b'V', rest @ ..] = segment else { return false };
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let digits = rest.iter().position(|byte| !is_digit(byte) && *byte != b'.').unwrap_or(rest.len());
    let (number, stage) = rest.split_at(digits);
    let letters = stage.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(stage.len());
    let (stage, behind) = stage.split_at(letters);
    segment.len() <= 10
        && number.len() <= 5
        && number.split(|byte| *byte == b'.').all(|part| !part.is_empty())
        && matches!(stage, b"" | b"alpha" | b"beta" | b"rc" | b"preview" | b"p")
        && behind.len() <= 2
        && behind.iter().all(is_digit)
        && (behind.is_empty() || !stage.is_empty())
}

/// Numbers with punctuation.
fn punctuated_number(segment: &[u8], shape: &Shape) -> Option<&'static str> {
    let is_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if is_date(segment) || is_week(segment) {
        return Some("{date}");
    }
    if !shape.is_all(DIGIT | DOT | TOKEN_MARK) {
        return None;
    }
    let unsigned = segment.strip_prefix(b"-").unwrap_or(segment);
    if is_digits(unsigned) {
        return Some("{id}");
    }
    if !shape.has(DOT) {
        return None;
    }
    let dots = memchr::memchr_iter(b'.', unsigned).count();
    if !unsigned.split(|byte| *byte == b'.').all(is_digits) {
        return None;
    }
    match dots {
        1 => Some("{number}"),
        3 if unsigned.len() <= 15 && unsigned.split(|byte| *byte == b'.').all(|part| part.len() <= 3) => Some("{ip}"),
        _ => None,
    }
}

/// `2025-W27`, `2025W27`, `2025-W27-4`, `2025-Q3`.
fn is_week(segment: &[u8]) -> bool {
    let is_digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    let Some((_, rest)) = segment.split_at_checked(4).filter(|(year, _)| is_digits(year)) else { return false };
    match rest.strip_prefix(b"-").unwrap_or(rest) {
        [b'W' | b'w', week @ ..] => match week {
            [_, _] | [_, _, _] => is_digits(week),
            [one, two, b'-', day] => is_digits(&[*one, *two, *day]),
            _ => false,
        },
        [b'Q' | b'q', quarter] => quarter.is_ascii_digit(),
        _ => false,
    }
}

/// `2025-07-03` or `2025-07`, alone or with a time behind it.
fn is_date(segment: &[u8]) -> bool {
    let [a, b, c, d, b'-', e, f, rest @ ..] = segment else { return false };
    if ![a, b, c, d, e, f].into_iter().all(u8::is_ascii_digit) {
        return false;
    }
    let mut time = match rest {
        [] => return true,
        [b'-', day, unit, rest @ ..] if day.is_ascii_digit() && unit.is_ascii_digit() => rest,
        _ => return false,
    };
    if time.is_empty() {
        return true;
    }
    // A time begins with a mark and a digit; colons and the plus sign may be escaped.
    if !matches!(time, [b'T' | b't' | b'_' | b'+', digit, ..] if digit.is_ascii_digit()) {
        return false;
    }
    while let Some((byte, rest)) = time.split_first() {
        time = match byte {
            b'0'..=b'9' | b'T' | b't' | b'Z' | b'z' | b':' | b'.' | b'+' | b'-' | b'_' => rest,
            b'%' => match rest {
                [b'3', b'A' | b'a', rest @ ..] | [b'2', b'B' | b'b', rest @ ..] => rest,
                _ => return false,
            },
            _ => return false,
        };
    }
    true
}

const UUID_LEN: usize = 36;

/// Whether there is a UUID anywhere in it.
fn has_uuid(segment: &[u8]) -> bool {
    segment.len() > UUID_LEN
        && memchr::memchr_iter(b'-', segment)
            .filter_map(|dash| segment.get(dash.checked_sub(8)?..)?.get(..UUID_LEN))
            .any(is_uuid)
}

fn is_uuid(segment: &[u8]) -> bool {
    segment.len() == UUID_LEN
        && segment.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// One `@`, as such or escaped, with a local part before it and a name with a dot behind it.
fn is_email(segment: &[u8]) -> bool {
    let at = segment.iter().position(|byte| *byte == b'@').map(|at| (at, at + 1));
    let escaped = || segment.windows(3).position(|window| window == b"%40").map(|at| (at, at + 3));
    let Some((end, begin)) = at.or_else(escaped) else { return false };
    let (local, domain) = (segment.get(..end).unwrap_or_default(), segment.get(begin..).unwrap_or_default());
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'');
    let is_domain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let mut labels = domain.split(|byte| *byte == b'.');
    !local.is_empty()
        && local.iter().all(is_local)
        && domain.iter().all(is_domain)
        && labels.clone().count() > 1
        && labels.all(|label| !label.is_empty())
}

/// The length of the placeholder that this begins with; 1 when it is none.
fn placeholder_len(text: &[u8]) -> usize {
    let known = PLACEHOLDERS.iter().find(|placeholder| text.starts_with(placeholder.as_bytes()));
    known.map_or(1, |placeholder| placeholder.len())
}

/// The length of the escape that this begins with; 1 when it is none.
fn escape_len(text: &[u8]) -> usize {
    match text {
        [_, high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(path: &str) -> String {
        let mut scratch = Vec::new();
        String::from_utf8_lossy(endpoint_template(path.as_bytes(), &mut scratch)).into_owned()
    }

    #[test]
    fn what_varies_is_replaced() {
        for (path, expected) in [
            ("/v1/orders/7", "/v1/orders/{id}"),
            ("/v1/orders/1234567/items/12", "/v1/orders/{id}/items/{id}"),
            ("/users/-5", "/users/{id}"),
            ("/orders/order-12345", "/orders/order-{id}"),
            ("/orders/ORD-2024-000123", "/orders/ORD-{id}-{id}"),
            ("/u/user12345/posts", "/u/user{id}/posts"),
            ("/files/000123.pdf", "/files/{id}.pdf"),
            ("/assets/main.9f86d081884c.js", "/assets/main.{hash}.js"),
            ("/o/4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015/x", "/o/{uuid}/x"),
            ("/o/4F2A9D1C-77B0-4E7F-9A65-5C2AA0F0C015", "/o/{uuid}"),
            ("/c/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "/c/{hash}"),
            ("/c/7f3a2b1", "/c/{hash}"),
            ("/m/507f1f77bcf86cd799439011", "/m/{hash}"),
            ("/u/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/u/{ulid}"),
            ("/d/2025-07-03", "/d/{date}"),
            ("/d/2025-07", "/d/{date}"),
            ("/d/2025-07-03T10:00:00.000Z", "/d/{date}"),
            ("/d/2025-07-03T10%3A00%3A00%2B02%3A00", "/d/{date}"),
            ("/geo/51.5074/-0.1278", "/geo/{number}/{number}"),
            ("/hosts/192.0.2.17/ports", "/hosts/{ip}/ports"),
            ("/u/jane.doe@mail.example", "/u/{email}"),
            ("/u/jane.doe+x7%40mail.example/cart", "/u/{email}/cart"),
            ("/video/dQw4w9WgXcQ", "/video/{token}"),
            ("/p/B07XJ8C8F5", "/p/{token}"),
            ("/cus/cus_9s6XKzkNRiz8i3", "/cus/{token}"),
            ("/share/k3J-x9_Qz81bTf4LmNq2w", "/share/{token}"),
            ("/o/order-9f86d081884c", "/o/order-{hash}"),
            ("/a;jsessionid=1A2B3C4D5E6F", "/a;jsessionid={hash}"),
            ("/img/4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015.png", "/img/{uuid}.png"),
            ("/o/Products(4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015)", "/o/Products({uuid})"),
            ("/o/Products(guid'4F2A9D1C-77B0-4E7F-9A65-5C2AA0F0C015')/Name", "/o/Products(guid'{uuid}')/Name"),
            ("/urn:uuid:4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015", "/urn:uuid:{uuid}"),
            ("/user-4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015", "/user-{uuid}"),
            ("/User-4F2A9D1C-77b0-4e7f-9a65-5c2aa0f0c015", "/User-{uuid}"),
            ("/user_4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015-12", "/user_{uuid}-{id}"),
            ("/4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015_thumb", "/{uuid}_thumb"),
            ("/4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015:cancel", "/{uuid}:cancel"),
            ("/%7B4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015%7D", "/%7B{uuid}%7D"),
            ("/12345678-1234-1234-1234-123456789012.pdf", "/{uuid}.pdf"),
            ("/x/Xk9sTqLw2bVz", "/x/{token}"),
            ("/x/jqXVzGbWTkPwZc", "/x/{token}"),
            ("/x/Vk3sR7mXp2LqZ9aBcD", "/x/{token}"),
            ("/node/VXNlcjoxMjM0NTY3", "/node/{token}"),
            ("/node/VXNlcjoxMjM=", "/node/{token}"),
            ("/k/q2w+rT9yU8iO1pA5sD7fGg==", "/k/{token}"),
            ("/k/q2w-rT9yU8iO1pA5sD7fGg%3D%3D", "/k/{token}"),
            ("/pods/web-7d4b9c6f5-x2x9z/log", "/pods/web-{token}/log"),
            ("/pods/my-api-v2-6bcdff7989-kzqpw", "/pods/my-api-v2-{token}"),
            ("/assets/index-BxK3d9aQ.js", "/assets/index-{token}.js"),
            ("/assets/page-B_K3d-aQ.css", "/assets/page-{token}.css"),
            ("/nic/00:1B:44:11:3a:b7", "/nic/{mac}"),
            ("/nic/00-1b-44-11-3a-b7", "/nic/{mac}"),
            ("/nic/00%3A1B%3A44%3A11%3A3A%3AB7", "/nic/{mac}"),
            ("/ip/2001:db8::17", "/ip/{ip}"),
            ("/ip/2001%3Adb8%3A%3A17", "/ip/{ip}"),
            ("/ip/fe80:0:0:0:1ff:fe23:4567:890a", "/ip/{ip}"),
            ("/r/2025-W27", "/r/{date}"),
            ("/r/2025W27-4", "/r/{date}"),
            ("/r/2025-Q3", "/r/{date}"),
            ("/{id}/7", "/{id}/{id}"),
            ("/i/{id}-77", "/i/{id}-{id}"),
            ("7", "{id}"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
        assert_eq!(template(&format!("/t/{}/z", "a".repeat(65))), "/t/{token}/z");
    }

    #[test]
    fn words_and_versions_stay() {
        for path in [
            "",
            "/",
            "//",
            "*",
            "/v1/orders",
            "/v2.1/x",
            "/v1beta1/x",
            "/V3/x",
            "/api/1.0/x",
            "/oauth2/token",
            "/base64/encode",
            "/step-2",
            "/i18n/de-AT",
            "/s3/bucket",
            "/facade/decade/deadbeef",
            "/getUserAccountSettingsById",
            "/OAuth2Callback",
            "/convert-mp3-to-mp4",
            "/.well-known/openid-configuration",
            "/caf%C3%A9/men%C3%BC",
            "/a{b}c",
            "/{id}/{uuid}",
            "/index.html",
            "/x/@me",
            "/user@localhost",
            "/getS3BucketByName2",
            "/some-slug-of-a-long-title-without-numbers",
            "/accessTokenUser=",
            "/page2Filter=",
            "/MapV2ToV3Response",
            "/HL7V2Messages",
            "/B2B2CPortal",
            "/lib-Html5Api.js",
            "/page-UserList.js",
            "/intro-to-html5",
            "/std::vec1",
            "/v1/things:batchGet2",
        ] {
            assert_eq!(template(path), path);
            let mut scratch = Vec::new();
            assert_eq!(endpoint_template(path.as_bytes(), &mut scratch), path.as_bytes());
        }
    }

    #[test]
    fn what_stays_is_borrowed() {
        let mut scratch = Vec::new();
        for path in ["/v1/orders", "/getUserAccount/settings"] {
            assert_eq!(endpoint_template(path.as_bytes(), &mut scratch), path.as_bytes());
        }
        assert_eq!(scratch.capacity(), 0);
    }

    #[test]
    fn a_template_has_an_end() {
        let ones = template(&"/1".repeat(10_000));
        assert!(
            ones.len() <= MAX_TEMPLATE && ones.starts_with("/{id}/{id}") && ones.ends_with("{id}/{more}"),
            "{ones}"
        );
        assert_eq!(template(&ones), ones);
        let words = template(&"/word".repeat(1000));
        assert!(words.len() <= MAX_TEMPLATE && words.ends_with("/word/{more}"), "{words}");
        // One segment of a megabyte.
        assert_eq!(template(&"1".repeat(1 << 20)), "{token}");
        let grown = template(&format!("/{}", "-12".repeat(20)));
        assert_eq!(grown, "/{token}");
    }

    /// Random tokens of the usual alphabets; what is no token of 22 characters is not much.
    #[test]
    fn most_random_tokens_are_told() {
        let mut state = 1_u64;
        let mut random = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as usize) % bound
        };
        for (alphabet, least) in [
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 700),
            ("abcdefghijklmnopqrstuvwxyz0123456789", 900),
            ("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 900),
        ] {
            let told = (0..1000).filter(|_| {
                let token: String = (0..22).map(|_| alphabet.as_bytes()[random(alphabet.len())] as char).collect();
                matches!(template(&format!("/{token}")).as_str(), "/{token}")
            });
            let told = told.count();
            assert!(told >= least, "{told} of {alphabet}");
        }
    }

    fn paths() -> impl Strategy<Value = String> {
        let segment = prop_oneof![
            "[a-z]{1,10}",
            "[0-9]{1,6}",
            "[a-f0-9]{6,12}",
            "[A-Za-z0-9]{1,26}",
            "[A-Za-z0-9_.-]{1,30}",
            "v[0-9.]{1,4}[a-z]{0,4}[0-9]?",
            "[0-9]{4}-[0-9]{2}(-[0-9]{2})?(T[0-9:]{2,5})?",
            "[a-z0-9]{1,6}(@|%40)[a-z0-9.]{1,8}",
            "[-{}%a-f0-9]{1,20}",
            "(\\{id\\}|\\{hash\\}|[0-9]{1,4}|[a-f]{1,4}|[-._]){1,8}",
            "[0-9.]{1,12}",
            "[ -~&&[^/]]{0,70}",
            "([0-9]{2}[-.]){1,30}",
            "[a-z{}%.-]{0,6}[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}[a-z0-9%.-]{0,4}",
            "[a-z0-9-]{0,6}-[b-d0-9]{8,10}-[b-d0-9]{5}",
            "[a-zA-Z0-9.-]{0,6}-[a-zA-Z0-9_-]{8}\\.(js|css)",
            "([a-fA-F0-9]{1,4}(:|%3A|-)){1,7}[a-f0-9]{0,4}",
            "[a-zA-Z0-9+]{8,24}(=|%3D){0,2}",
            "[a-zA-Z]{8,24}",
            "[0-9]{4}-?[WQ][0-9]{1,3}(-[0-9])?",
        ];
        prop::collection::vec(segment, 0..8).prop_map(|segments| format!("/{}", segments.join("/")))
    }

    /// What is not counted is not asked for: the closest look comes to the same.
    fn judge_with_care(segment: &[u8]) -> (Form, Option<&'static str>) {
        let shape = Shape::counted(segment);
        let form = match () {
            () if segment.len() > LONGEST_SEGMENT => Form::Is("{token}"),
            () if shape.has(DIGIT) => judge_closely(segment, shape.kinds),
            () if is_email(segment) => Form::Is("{email}"),
            () if is_hash(&shape, segment.len()) => Form::Is("{hash}"),
            () if is_opaque(&shape) => Form::Is("{token}"),
            () if is_padded_base64(segment) => Form::Is("{token}"),
            () => Form::Composite,
        };
        (form, is_random(&shape, segment.len()).or(is_opaque(&shape).then_some("{token}")))
    }

    proptest! {
        #[test]
        fn shortcuts_lead_to_the_same(path in paths(), word in "[a-f]{20,40}|[0-9]{0,30}[-_.a-zA-Z]{0,30}") {
            for segment in path.split('/').chain([word.as_str()]) {
                let (found, kinds) = first_segment(segment.as_bytes());
                prop_assert_eq!(found, segment.as_bytes());
                let shape = Shape::of(found);
                let random = is_random(&shape, found.len()).or(is_opaque(&shape).then_some("{token}"));
                let (careful, careful_random) = judge_with_care(found);
                prop_assert_eq!(random, careful_random);
                let form = judge(found, kinds);
                let (mut parts, mut pieces) = (Vec::new(), Vec::new());
                append_composite(found, &mut parts);
                match (form, careful) {
                    (Form::Stays, Form::Composite) => prop_assert_eq!(found, &parts),
                    (Form::Pieces, _) => {
                        append_pieces(found, &mut pieces);
                        prop_assert_eq!(pieces, parts);
                    }
                    _ => prop_assert_eq!(form, careful),
                }
            }
        }

        #[test]
        fn a_template_is_a_fixed_point(path in paths()) {
            let once = template(&path);
            prop_assert_eq!(template(&once), once.clone());
            prop_assert!(once.len() <= MAX_TEMPLATE);
        }

        #[test]
        fn digits_do_not_matter(path in paths(), digits in prop::collection::vec(b'0'..=b'9', 128)) {
            // Outside of versions and escapes, whose digits mean something, and of what is short enough to stay.
            let varied = |path: &str| {
                let mut digits = digits.iter().cycle();
                let mut escape = 0;
                path.chars().map(|character| {
                    let in_escape = escape > 0;
                    escape = if character == '%' { 2 } else { escape.max(1) - 1 };
                    if character.is_ascii_digit() && !in_escape { *digits.next().unwrap() as char } else { character }
                }).collect::<String>()
            };
            let blank = |template: String| template.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
            prop_assert_eq!(blank(template(&varied(&path))), blank(template(&path)));
        }

        #[test]
        fn any_bytes_are_survived(path in prop::collection::vec(any::<u8>(), 0..600)) {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            let once = endpoint_template(&path, &mut one);
            prop_assert!(once.len() <= MAX_TEMPLATE);
            prop_assert_eq!(endpoint_template(once, &mut two), once);
        }
    }
}
