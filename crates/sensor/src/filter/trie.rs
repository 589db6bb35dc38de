//! Texts that others begin with, or, in reverse, end with.

use super::sets::Bits;

/// Texts, each with rules. A look-up goes no further than the text shares bytes with any of them.
#[derive(Debug, Default)]
pub(super) struct Trie {
    /// The root is the first. Empty without texts.
    nodes: Vec<Node>,
    /// The nodes behind the root by their bytes, 0 where there is none: most texts end their way here.
    starts: Vec<u32>,
    /// The bytes behind each node, and the nodes that they lead to.
    bytes: Vec<u8>,
    targets: Vec<u32>,
    /// The rules of a text and of all that begin it.
    sets: Vec<Bits>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where its bytes begin, and how many there are.
    first: u32,
    count: u16,
    /// Whether a text ends here, and the place of its rules.
    has_rules: bool,
    rules: u32,
}

impl Trie {
    pub(super) fn new(texts: impl IntoIterator<Item = (Vec<u8>, Bits)>) -> Self {
        let mut texts: Vec<_> = texts.into_iter().collect();
        texts.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        let mut trie = Self::default();
        if texts.is_empty() {
            return trie;
        }
        // Breadth first: the texts of each node, how far they agree, and the rules of those that ended on the way.
        let mut queue = std::collections::VecDeque::from([(texts.as_slice(), 0, Bits::NONE)]);
        let mut known: u32 = 1;
        while let Some((mut texts, depth, mut rules)) = queue.pop_front() {
            let first = u32::try_from(trie.bytes.len()).unwrap_or(u32::MAX);
            let mut node = Node { first, count: 0, has_rules: false, rules: 0 };
            while let Some((text, own)) = texts.first().filter(|(text, _)| text.len() == depth) {
                debug_assert_eq!(text.len(), depth);
                rules.add(own);
                node.has_rules = true;
                texts = texts.get(1..).unwrap_or_default();
            }
            if node.has_rules {
                node.rules = u32::try_from(trie.sets.len()).unwrap_or(u32::MAX);
                trie.sets.push(rules);
            }
            while let Some(byte) = texts.first().and_then(|(text, _)| text.get(depth)) {
                let count = texts.partition_point(|(text, _)| text.get(depth) <= Some(byte));
                let (same, rest) = texts.split_at(count);
                trie.bytes.push(*byte);
                trie.targets.push(known);
                known = known.saturating_add(1);
                node.count += 1;
                queue.push_back((same, depth + 1, rules));
                texts = rest;
            }
            trie.nodes.push(node);
        }
        trie.starts = vec![0; 256];
        let behind_root = trie.nodes.first().map_or(0, |root| usize::from(root.count));
        for (byte, target) in trie.bytes.iter().zip(&trie.targets).take(behind_root) {
            if let Some(start) = trie.starts.get_mut(usize::from(*byte)) {
                *start = *target;
            }
        }
        trie
    }

    /// The rules of all texts that these bytes begin with.
    #[inline]
    pub(super) fn find<'a>(&self, mut bytes: impl Iterator<Item = &'a u8>) -> Option<&Bits> {
        let root = self.nodes.first()?;
        let mut longest = root.has_rules.then_some(root.rules);
        let start = bytes.next().and_then(|byte| self.starts.get(usize::from(*byte)).filter(|start| **start != 0));
        let Some(mut node) = start.and_then(|start| self.nodes.get(*start as usize)) else {
            return self.sets.get(longest? as usize);
        };
        if node.has_rules {
            longest = Some(node.rules);
        }
        for byte in bytes {
            let first = node.first as usize;
            let here = self.bytes.get(first..first + usize::from(node.count)).unwrap_or_default();
            let Some(place) = here.iter().position(|known| known == byte) else { break };
            let Some(next) = self.targets.get(first + place).and_then(|target| self.nodes.get(*target as usize)) else {
                break;
            };
            node = next;
            if node.has_rules {
                longest = Some(node.rules);
            }
        }
        self.sets.get(longest? as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_that_begin_a_text_are_found(
            texts in prop::collection::btree_set("[abc]{0,5}", 0..12),
            probes in prop::collection::vec("[abcd]{0,7}", 1..8),
        ) {
            let texts: Vec<_> = texts.into_iter().collect();
            let with_rules = texts.iter().enumerate().map(|(rule, text)| {
                let mut bits = Bits::NONE;
                bits.insert(rule);
                (text.clone().into_bytes(), bits)
            });
            let trie = Trie::new(with_rules);
            for probe in probes {
                let found = trie.find(probe.as_bytes().iter()).copied().unwrap_or_default();
                for (rule, text) in texts.iter().enumerate() {
                    prop_assert_eq!(found.contains(rule), probe.starts_with(text), "{} of {}", text, probe);
                }
            }
        }
    }
}
