//! docs/configuration.md: prose for what all keys have in common, a table for each section.

use super::describe::{Content, Item, Leaf, Outline, join, section_text};

/// What stands before the tables, and behind them.
const PREFACE: &str = include_str!("page/preface.md");
const END: &str = include_str!("page/end.md");

pub(super) fn text(outline: &Outline) -> String {
    let mut text = PREFACE.to_owned();
    text.push_str("\n## Above all sections\n");
    write_section(&mut text, outline, "");
    text.push('\n');
    text.push_str(END);
    text
}

fn write_section(text: &mut String, outline: &Outline, path: &str) {
    let values: Vec<_> = outline
        .items
        .iter()
        .filter_map(|item| match &item.content {
            Content::Value(leaf) => Some((item, leaf)),
            _ => None,
        })
        .collect();
    if !values.is_empty() {
        text.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
        for (item, leaf) in values {
            text.push_str(&row(item, leaf));
        }
    }
    for Item { name, doc, content } in &outline.items {
        let path = join(path, name);
        let (heading, outline) = match content {
            Content::Value(_) => continue,
            Content::Table { outline, .. } => (format!("[{path}]"), outline),
            Content::Tables { outline } => (format!("[[{path}]]"), outline),
        };
        text.push_str(&format!("\n## `{heading}`\n\n{}\n", cell_free(&section_text(doc, &outline.doc))));
        write_section(text, outline, &path);
    }
}

fn row(item: &Item, leaf: &Leaf) -> String {
    let default = match &leaf.default {
        Some(default) => format!("`{}`", cell(default)),
        None if leaf.is_required => "needed".to_owned(),
        None => "–".to_owned(),
    };
    let reload = if leaf.is_live { " ↻" } else { "" };
    let example = if leaf.default.is_none() && !leaf.example.is_empty() && leaf.example != "\"\"" {
        format!(" Example: `{}`.", cell(&leaf.example))
    } else {
        String::new()
    };
    format!("| `{}`{reload} | {} | {default} | {}{example} |\n", item.name, cell(&leaf.shape.brief()), cell(&item.doc))
}

/// A text in a table: on one line, and no bar ends its cell.
fn cell(text: &str) -> String {
    cell_free(text).replace('\n', " ").replace('|', "\\|")
}

/// Markdown would take these for its own.
fn cell_free(text: &str) -> String {
    text.replace('<', "&lt;")
}
