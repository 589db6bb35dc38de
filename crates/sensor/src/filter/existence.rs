//! What of an expression decides whether a text has a match at all.
//!
//! A match that begins with repetitions has a shorter one within it that begins with as few as have to be, and likewise at the end:
//! `\w{1,100}x.*` is found wherever `\wx` is. What is left takes a far smaller automaton.

use regex_syntax::hir::{Hir, HirKind, Repetition};

/// An expression that is found in the same texts, though not at the same places in them. Groups capture nothing.
pub(super) fn where_found(expression: Hir) -> Hir {
    trim(trim(expression, End::Start), End::End)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Start,
    End,
}

/// Takes away what repetitions at one end have beyond what they have to have. What is looked at around a place stays true of the
/// shorter match: it is the same place in the same text.
fn trim(expression: Hir, end: End) -> Hir {
    match expression.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Repetition(Repetition { min: 0, .. }) => Hir::empty(),
        HirKind::Repetition(Repetition { min: 1, sub, .. }) => trim(*sub, end),
        HirKind::Repetition(all) => Hir::repetition(Repetition { max: Some(all.min), ..all }),
        HirKind::Capture(group) => trim(*group.sub, end),
        HirKind::Alternation(all) => Hir::alternation(all.into_iter().map(|one| trim(one, end)).collect()),
        HirKind::Concat(mut all) => {
            // The outermost is the last one.
            if end == End::Start {
                all.reverse();
            }
            while let Some(outermost) = all.pop() {
                let trimmed = trim(outermost, end);
                if !matches!(trimmed.kind(), HirKind::Empty) {
                    all.push(trimmed);
                    break;
                }
            }
            if end == End::Start {
                all.reverse();
            }
            Hir::concat(all)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::{Regex, RegexBuilder};

    use super::*;

    fn hir(expression: &str) -> Hir {
        regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(expression).unwrap()
    }

    fn regex(expression: &str) -> Regex {
        RegexBuilder::new(expression).unicode(false).build().unwrap()
    }

    fn expressions() -> impl Strategy<Value = String> {
        let leaf =
            prop::sample::select(vec!["a", "b", "ab", "[ab]", ".", "\\w", "^", "$", "\\b", "\\B", "", "\n", "(?m:^)"]);
        leaf.prop_map(str::to_owned).prop_recursive(4, 24, 4, |inner| {
            let repeated =
                (inner.clone(), prop::sample::select(vec!["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "+?"]));
            prop_oneof![
                2 => prop::collection::vec(inner.clone(), 1..4).prop_map(|all| all.concat()),
                1 => prop::collection::vec(inner, 1..4).prop_map(|all| format!("({})", all.join("|"))),
                2 => repeated.prop_map(|(one, times)| format!("(?:{one}){times}")),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_found_where_the_whole_is(expression in expressions(), texts in prop::collection::vec("[ab \n]{0,9}", 1..12)) {
            let (whole, less) = (regex(&expression), regex(&where_found(hir(&expression)).to_string()));
            for text in texts {
                prop_assert_eq!(whole.is_match(text.as_bytes()), less.is_match(text.as_bytes()), "{} in {:?}", less, text);
            }
        }
    }

    #[test]
    fn only_what_has_to_be_is_left() {
        for (expression, left) in [
            (".*admin.*", "admin"),
            ("\\w{1,100}7", "\\w7"),
            ("(a|b+){2,9}c(d|e*)?", "(a|b+){2}c"),
            ("(x*)(y+)z", "yz"),
            ("x*", ""),
            ("^a+$", "^a+$"),
            ("(.*a|b.+)", "(?:a|b.)"),
        ] {
            assert_eq!(where_found(hir(expression)), hir(&where_found(hir(left)).to_string()), "{expression}");
        }
    }
}
