//! Records of every shape, as committed. A change here is a change of the format: docs/output-format.md goes with it.

use super::support::shapes;

/// The line as it is, but for a line break before each field, so that order shows and differences are readable.
#[test]
fn every_shape() {
    for (name, sample) in shapes() {
        let line = String::from_utf8(sample.write().0).expect("a record is UTF-8");
        assert!(line.ends_with("}\n"));
        insta::assert_snapshot!(name, line.trim_end().replace(",\"", ",\n\""));
    }
}
