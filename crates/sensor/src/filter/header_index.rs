//! Conditions on header fields: all names and values of a message's fields, gone through once.

use std::collections::BTreeMap;

use super::facts::Fields;
use super::sets::{Bits, MAX_RULES};
use super::settings::{HeaderCondition, HeaderTest};
use super::text_index::{Budget, TextIndex, TextIndexBuilder, TooMuch};

/// Conditions on the fields of a message, each of a rule.
#[derive(Debug, Default)]
pub(super) struct HeaderIndex {
    /// Sorted by the length of the name.
    names: Vec<NamedField>,
    /// The lengths of the names, as bits; 63 stands for that and more.
    lengths: u64,
    /// The conditions that hold of a message without any field.
    absent: Bits,
    /// The conditions of each rule that has any.
    rules: Vec<(usize, Bits)>,
    /// The rules that match a message without any field.
    by_absence: Bits,
    /// The names that a field may not have twice.
    once: Vec<Once>,
}

#[derive(Debug)]
struct Once {
    name: Box<[u8]>,
    /// The condition that no second field has the name.
    condition: usize,
    /// The rule that asks for it.
    rule: usize,
}

#[derive(Debug)]
struct NamedField {
    /// In lower case.
    name: Box<[u8]>,
    present: Bits,
    absent: Bits,
    values: TextIndex,
}

/// Collects conditions.
#[derive(Debug, Default)]
pub(super) struct HeaderIndexBuilder {
    names: BTreeMap<Vec<u8>, (Bits, Bits, TextIndexBuilder)>,
    rules: BTreeMap<usize, Bits>,
    conditions: usize,
    once: Vec<Once>,
}

impl HeaderIndexBuilder {
    /// Adds a condition of a rule; each one has to hold.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn add(&mut self, condition: &HeaderCondition, rule: usize) -> Result<(), String> {
        let HeaderCondition { name, test } = condition;
        let is_token = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("`{name}` is no name of a header: write it as in a request, without the colon"));
        }
        let number = self.number()?;
        let (present, absent, values) = self.names.entry(name.to_ascii_lowercase().into_bytes()).or_default();
        match test {
            HeaderTest::Present => present.insert(number),
            HeaderTest::Absent => absent.insert(number),
            HeaderTest::Value(patterns) | HeaderTest::Sole(patterns) if patterns.is_empty() => {
                return Err(format!("no value is given for `{name}`: leave it away, or say whether it is present"));
            }
            HeaderTest::Value(patterns) | HeaderTest::Sole(patterns) => {
                patterns.iter().try_for_each(|pattern| values.add(pattern, number))?;
            }
        }
        self.rules.entry(rule).or_default().insert(number);
        if matches!(test, HeaderTest::Sole(_)) { self.add_once(name, rule) } else { Ok(()) }
    }

    /// The number of one more condition.
    fn number(&mut self) -> Result<usize, String> {
        let number = self.conditions;
        if number >= MAX_RULES {
            return Err(format!("more than {MAX_RULES} conditions on headers"));
        }
        self.conditions += 1;
        Ok(number)
    }

    /// Adds the condition that no second field has the name.
    fn add_once(&mut self, name: &str, rule: usize) -> Result<(), String> {
        let condition = self.number()?;
        self.rules.entry(rule).or_default().insert(condition);
        self.once.push(Once { name: name.as_bytes().into(), condition, rule });
        Ok(())
    }

    /// The index.
    ///
    /// # Errors
    /// When all patterns are too much together.
    pub(super) fn build(self, budget: &mut Budget) -> Result<HeaderIndex, TooMuch> {
        let mut index = HeaderIndex { rules: self.rules.into_iter().collect(), ..HeaderIndex::default() };
        for (name, (present, absent, values)) in self.names {
            index.lengths |= length_bit(name.len());
            index.absent.add(&absent);
            let rule_of = |much: TooMuch| {
                let asking = index.rules.iter().find(|(_, conditions)| conditions.contains(much.rule));
                TooMuch { rule: asking.map_or(much.rule, |(rule, _)| *rule) }
            };
            let values = values.build(budget).map_err(rule_of)?;
            index.names.push(NamedField { name: name.into(), present, absent, values });
        }
        index.names.sort_by_key(|field| field.name.len());
        self.once.iter().for_each(|once| index.absent.insert(once.condition));
        index.once = self.once;
        index.by_absence = index.matching(&index.absent, |_| true);
        Ok(index)
    }
}

impl HeaderIndex {
    /// Adds to `found` the rules among `wanted` all of whose conditions hold.
    pub(super) fn find(&self, fields: &dyn Fields, wanted: &Bits, found: &mut Bits) {
        self.find_by(fields, wanted, found, |_, patterns, value, holding| patterns.find(value, holding));
    }

    /// The same, where `look_up` adds the conditions whose patterns the value of a field of this name matches.
    pub(super) fn find_by(
        &self,
        fields: &dyn Fields,
        wanted: &Bits,
        found: &mut Bits,
        mut look_up: impl FnMut(&[u8], &TextIndex, &[u8], &mut Bits),
    ) {
        // Most messages have no field that any rule is about, and most of those none with a name as long.
        if self.lengths & fields.name_lengths() == 0 {
            found.add(&self.by_absence.and(wanted));
            return;
        }
        let mut holding = self.absent;
        fields.each(&mut |name, value| {
            if self.lengths & length_bit(name.len()) == 0 {
                return;
            }
            let first = self.names.partition_point(|field| field.name.len() < name.len());
            let same_length = self.names.iter().skip(first).take_while(|field| field.name.len() == name.len());
            for field in same_length.filter(|field| field.name.eq_ignore_ascii_case(name)) {
                holding.add(&field.present);
                holding = holding.minus(&field.absent);
                look_up(&field.name, &field.values, value, &mut holding);
            }
        });
        for once in self.once.iter().filter(|once| wanted.contains(once.rule)) {
            let mut number = 0;
            fields.each(&mut |name, _| number += usize::from(name.eq_ignore_ascii_case(&once.name)));
            if number > 1 {
                holding.remove(once.condition);
            }
        }
        if holding == self.absent {
            found.add(&self.by_absence.and(wanted));
        } else {
            found.add(&self.matching(&holding, |rule| wanted.contains(rule)));
        }
    }

    /// The rules all of whose conditions are among those that hold.
    fn matching(&self, holding: &Bits, is_wanted: impl Fn(usize) -> bool) -> Bits {
        let mut matching = Bits::NONE;
        for (rule, conditions) in &self.rules {
            if is_wanted(*rule) && holding.holds(conditions) {
                matching.insert(*rule);
            }
        }
        matching
    }
}

const fn length_bit(length: usize) -> u64 {
    1 << if length < 63 { length } else { 63 }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Pattern;
    use super::*;

    #[test]
    fn each_condition_of_a_rule_has_to_hold() {
        let mut builder = HeaderIndexBuilder::default();
        let condition = |name: &str, test| HeaderCondition { name: name.to_owned(), test };
        let value = |text: &str| HeaderTest::Value(vec![Pattern::Glob(text.to_owned())]);
        let long = "x-".repeat(50);
        for (rule, condition) in [
            (0, condition("X-Probe", HeaderTest::Present)),
            (1, condition("x-probe", HeaderTest::Absent)),
            (2, condition("User-Agent", value("kube-probe/*"))),
            (2, condition("X-PROBE", HeaderTest::Present)),
            (3, condition("accept", value("a*"))),
            (3, condition("accept", value("*b"))),
            (4, condition(&long, HeaderTest::Present)),
            (
                5,
                condition(
                    "From",
                    HeaderTest::Sole(vec![Pattern::Glob("a*".to_owned()), Pattern::Glob("b".to_owned())]),
                ),
            ),
        ] {
            builder.add(&condition, rule).unwrap();
        }
        let index = builder.build(&mut Budget::default()).unwrap();
        let found = |fields: &[(&str, &str)]| {
            let mut found = Bits::NONE;
            index.find(&fields.to_vec(), &Bits::below(10), &mut found);
            (0..10).filter(|rule| found.contains(*rule)).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), [1]);
        assert_eq!(found(&[("x-PROBE", "")]), [0]);
        assert_eq!(found(&[("user-agent", "kube-probe/1.30")]), [1]);
        assert_eq!(found(&[("user-agent", "kube-probe/1.30"), ("X-Probe", "1")]), [0, 2]);
        assert_eq!(found(&[("user-agent", "curl"), ("X-Probe", "1"), ("x-probe", "2")]), [0]);
        assert_eq!(found(&[("accept", "a"), ("accept", "b")]), [1, 3], "any field of the name will do");
        assert_eq!(found(&[(&long, "x")]), [1, 4]);
        assert_eq!(found(&[("from", "a1"), ("x", "b")]), [1, 5]);
        assert_eq!(found(&[("from", "c")]), [1]);
        for (one, two) in [("c", "b"), ("b", "c"), ("b", "b")] {
            assert_eq!(found(&[("from", one), ("From", two)]), [1], "a second field of the name");
        }
        let mut none = Bits::NONE;
        index.find(&Vec::<(&str, &str)>::new(), &Bits::below(1), &mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn slips_are_told() {
        let mut builder = HeaderIndexBuilder::default();
        for (name, test, part) in [
            ("", HeaderTest::Present, "is no name"),
            ("host:", HeaderTest::Present, "is no name"),
            ("a b", HeaderTest::Present, "is no name"),
            ("a", HeaderTest::Value(Vec::new()), "no value"),
            ("a", HeaderTest::Value(vec![Pattern::Regex("[".to_owned())]), "is no regular expression"),
        ] {
            let error = builder.add(&HeaderCondition { name: name.to_owned(), test }, 0).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let many = HeaderCondition { name: "a".to_owned(), test: HeaderTest::Present };
        let errors = (0..MAX_RULES + 5).filter_map(|_| builder.add(&many, 0).err()).collect::<Vec<_>>();
        assert!(!errors.is_empty() && errors.iter().all(|error| error.contains("more than 512")), "{errors:?}");
    }
}
