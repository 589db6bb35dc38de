//! "Did you mean": the known name that is meant by an unknown one, where that is plain.

use strsim::damerau_levenshtein;

/// Names longer than any of ours are no near miss of one, and are not worth comparing.
const LONGEST: usize = 64;

/// The known name that is nearest, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > LONGEST {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace(['-', ' ', '.'], "_");
    let written = plain(written);
    known
        .into_iter()
        .filter_map(|name| {
            let (one, other) = (plain(name), &written);
            let distance = damerau_levenshtein(&one, other);
            // One letter in three may be wrong, and a name that goes on where the other ends is near, too.
            let near = distance <= one.chars().count().min(other.chars().count()).div_ceil(3).min(4);
            let begins = other.len() >= 4 && (one.starts_with(other.as_str()) || other.starts_with(one.as_str()));
            (near || begins).then_some((distance, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_strangers_are_not() {
        let known = ["sensor", "memory", "max_depth", "vxlan_ports", "url", "timeout", "connect_timeout"];
        for (written, meant) in [
            ("sensr", Some("sensor")),
            ("Memory", Some("memory")),
            ("max-depth", Some("max_depth")),
            ("vxlan_port", Some("vxlan_ports")),
            ("ulr", Some("url")),
            ("time_out", Some("timeout")),
            ("conect_timeout", Some("connect_timeout")),
            ("banana", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
        assert_eq!(nearest(&"sensor".repeat(1_000), known), None);
    }
}
