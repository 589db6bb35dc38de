//! Globs: read, and told apart by what is cheapest to match them.

use regex::bytes::{Regex, RegexBuilder};

/// The most alternatives that the braces of one glob may make together.
const MOST_ALTERNATIVES: usize = 256;

/// What one alternative of a glob asks of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// To be it.
    Exact(Vec<u8>),
    /// To begin with it.
    Prefix(Vec<u8>),
    /// To end with it.
    Suffix(Vec<u8>),
    /// Nothing.
    Anything,
    /// Anything else: a regular expression over bytes.
    Expression(String),
}

/// A glob by itself, for a few texts now and then; rules look for many in one text at once.
#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    /// With the expression of those that are one.
    alternatives: Vec<(Shape, Option<Regex>)>,
}

impl Glob {
    /// Reads a glob: `*` is any run of bytes, `?` is one, `{a,b}` is one of several, and `\` takes a byte for itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(glob: &str) -> Result<Self, String> {
        let compiled = |shape: Shape| {
            let expression = match &shape {
                Shape::Expression(text) => {
                    let mut builder = RegexBuilder::new(text);
                    Some(builder.unicode(false).dot_matches_new_line(true).build().map_err(|error| error.to_string())?)
                }
                _ => None,
            };
            Ok((shape, expression))
        };
        let alternatives: Result<_, String> = read(glob, false)?.into_iter().map(compiled).collect();
        Ok(Self { text: glob.to_owned(), alternatives: alternatives? })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.alternatives.iter().any(|(shape, expression)| match shape {
            Shape::Exact(exact) => text == exact.as_slice(),
            Shape::Prefix(prefix) => text.starts_with(prefix),
            Shape::Suffix(suffix) => text.ends_with(suffix),
            Shape::Anything => true,
            Shape::Expression(_) => expression.as_ref().is_some_and(|expression| expression.is_match(text)),
        })
    }
}

/// A piece of a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    One,
    Any,
}

/// The alternatives of a glob, in lower case if that is asked for.
pub(super) fn read(glob: &str, to_lower_case: bool) -> Result<Vec<Shape>, String> {
    let mut alternatives: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut bytes = glob.bytes();
    while let Some(byte) = bytes.next() {
        let piece = match byte {
            b'*' => Piece::Any,
            b'?' => Piece::One,
            b'\\' => Piece::Byte(bytes.next().ok_or_else(|| format!("`{glob}` ends in `\\`: write `\\\\` for one"))?),
            b'{' => {
                let choices = braces(glob, &mut bytes)?;
                if alternatives.len().saturating_mul(choices.len()) > MOST_ALTERNATIVES {
                    return Err(format!("the braces of `{glob}` make more than {MOST_ALTERNATIVES} alternatives"));
                }
                let longer = |alternative: &Vec<Piece>| {
                    choices.iter().map(|choice| [alternative.as_slice(), choice].concat()).collect::<Vec<_>>()
                };
                alternatives = alternatives.iter().flat_map(longer).collect();
                continue;
            }
            b'}' => return Err(format!("`{glob}` closes a brace that it does not open: write `\\}}` for one")),
            byte => Piece::Byte(byte),
        };
        alternatives.iter_mut().for_each(|alternative| alternative.push(piece));
    }
    Ok(alternatives.iter().map(|pieces| shape(pieces, to_lower_case)).collect())
}

/// What stands between braces, which do not nest.
fn braces(glob: &str, bytes: &mut core::str::Bytes<'_>) -> Result<Vec<Vec<Piece>>, String> {
    let unclosed = || format!("`{glob}` does not close a brace: write `\\{{` for one");
    let mut choices = vec![Vec::new()];
    loop {
        let piece = match bytes.next().ok_or_else(unclosed)? {
            b'}' => return Ok(choices),
            b'{' => return Err(format!("`{glob}` has braces in braces: use several patterns, or a regex")),
            b',' => {
                choices.push(Vec::new());
                continue;
            }
            b'*' => Piece::Any,
            b'?' => Piece::One,
            b'\\' => Piece::Byte(bytes.next().ok_or_else(unclosed)?),
            byte => Piece::Byte(byte),
        };
        if let Some(choice) = choices.last_mut() {
            choice.push(piece);
        }
    }
}

fn shape(pieces: &[Piece], to_lower_case: bool) -> Shape {
    let mut pieces: Vec<Piece> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Byte(byte) if to_lower_case => Piece::Byte(byte.to_ascii_lowercase()),
            piece => *piece,
        })
        .collect();
    pieces.dedup_by(|one, two| *one == Piece::Any && *two == Piece::Any);
    let literal = |pieces: &[Piece]| {
        let byte = |piece: &Piece| if let Piece::Byte(byte) = piece { Some(*byte) } else { None };
        pieces.iter().map(byte).collect::<Option<Vec<u8>>>()
    };
    if pieces == [Piece::Any] {
        return Shape::Anything;
    }
    let simple = match pieces.as_slice() {
        [Piece::Any, rest @ ..] => literal(rest).map(Shape::Suffix),
        [rest @ .., Piece::Any] => literal(rest).map(Shape::Prefix),
        all => literal(all).map(Shape::Exact),
    };
    simple.unwrap_or_else(|| Shape::Expression(expression(&pieces)))
}

/// A glob as a regular expression. What may be anything at an end is left away: it need not be looked at.
fn expression(pieces: &[Piece]) -> String {
    let mut text = String::new();
    let (is_open_before, pieces) = match pieces {
        [Piece::Any, rest @ ..] => (true, rest),
        all => (false, all),
    };
    let (is_open_behind, pieces) = match pieces {
        [rest @ .., Piece::Any] => (true, rest),
        all => (false, all),
    };
    if !is_open_before {
        text.push_str("\\A");
    }
    for piece in pieces {
        match piece {
            Piece::Byte(byte) if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            Piece::Byte(byte) => text.push_str(&format!("\\x{byte:02x}")),
            Piece::One => text.push('.'),
            Piece::Any => text.push_str(".*"),
        }
    }
    if !is_open_behind {
        text.push_str("\\z");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_globs() {
        for (glob, expected) in [
            ("api.example", vec![Shape::Exact(b"api.example".to_vec())]),
            ("", vec![Shape::Exact(Vec::new())]),
            ("*", vec![Shape::Anything]),
            ("***", vec![Shape::Anything]),
            ("/static/*", vec![Shape::Prefix(b"/static/".to_vec())]),
            ("/static/**", vec![Shape::Prefix(b"/static/".to_vec())]),
            ("*.js", vec![Shape::Suffix(b".js".to_vec())]),
            ("*.{js,CSS}", vec![Shape::Suffix(b".js".to_vec()), Shape::Suffix(b".CSS".to_vec())]),
            ("a\\*b", vec![Shape::Exact(b"a*b".to_vec())]),
            ("a*b?", vec![Shape::Expression("\\Aa.*b.\\z".to_owned())]),
            ("*a.*", vec![Shape::Expression("a\\x2e".to_owned())]),
            ("?", vec![Shape::Expression("\\A.\\z".to_owned())]),
            ("{a,}b", vec![Shape::Exact(b"ab".to_vec()), Shape::Exact(b"b".to_vec())]),
            ("[::1]", vec![Shape::Exact(b"[::1]".to_vec())]),
        ] {
            assert_eq!(read(glob, false), Ok(expected), "{glob}");
        }
        assert_eq!(read("*.{js,CSS}", true).unwrap()[1], Shape::Suffix(b".css".to_vec()));
    }

    #[test]
    fn a_glob_by_itself_matches_whole_texts() {
        for (glob, text, expected) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("{a,x}*c", "xc", true),
            ("abc", "abcd", false),
            ("a*c", "a\n\u{e4}c", true),
            ("a.c", "abc", false),
        ] {
            assert_eq!(Glob::new(glob).unwrap().matches(text.as_bytes()), expected, "{glob} {text}");
        }
        assert!(Glob::new("a}").is_err());
        assert_eq!(Glob::new("a*").unwrap().text(), "a*");
    }

    #[test]
    fn slips_are_told() {
        for (glob, part) in [
            ("a\\", "ends in"),
            ("{a", "does not close"),
            ("{a\\", "does not close"),
            ("a}", "does not open"),
            ("{a,{b}}", "braces in braces"),
            ("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", "more than 256"),
        ] {
            assert!(read(glob, false).unwrap_err().contains(part), "{glob}");
        }
    }
}
