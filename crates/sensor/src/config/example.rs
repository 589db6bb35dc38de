//! The commented example: the file to start from.
//!
//! What is commented out without a blank behind `#` is a setting, and becomes one when the `#` is taken away.

use super::describe::{Content, Item, Outline, join, section_text};

const PREFACE: &str = "\
# The configuration of sensor, with every key there is.
# Set here are the defaults; what has none is commented out, with an example: take the # away to set it.
# Check a file with: sensor config --check FILE
";

pub(super) fn text(outline: &Outline) -> String {
    let mut text = PREFACE.to_owned();
    write_section(&mut text, outline, "", false);
    text
}

/// The values of a section, then the sections within. What is in a section that is commented out is, too.
fn write_section(text: &mut String, outline: &Outline, path: &str, is_off: bool) {
    for Item { name, doc, content } in &outline.items {
        let Content::Value(leaf) = content else { continue };
        text.push('\n');
        comment(text, doc);
        match &leaf.default {
            _ if leaf.is_alternative => text.push_str(&format!("# Or: {name} = {}\n", leaf.example)),
            Some(default) if !is_off => text.push_str(&format!("{name} = {default}\n")),
            _ => text.push_str(&format!("#{name} = {}\n", leaf.example)),
        }
    }
    for Item { name, doc, content } in &outline.items {
        let path = join(path, name);
        let (heading, outline, is_off) = match content {
            Content::Value(_) => continue,
            Content::Table { outline, is_optional } => (format!("[{path}]"), outline, is_off || *is_optional),
            Content::Tables { outline } => (format!("[[{path}]]"), outline, true),
        };
        text.push('\n');
        comment(text, &section_text(doc, &outline.doc));
        text.push_str(&format!("{}{heading}\n", if is_off { "#" } else { "" }));
        write_section(text, outline, &path, is_off);
    }
}

fn comment(text: &mut String, doc: &str) {
    for line in doc.lines() {
        text.push_str(&format!("# {line}\n"));
    }
}
