//! The JSON Schema of a file, for editors and for those who write files by program.
//!
//! A schema cannot say all that is checked (what excludes what, which names must differ): a file that it accepts may still
//! be refused, and one that it refuses is always refused.

use serde_json::{Map, Value, json};

use super::describe::{Content, Leaf, Outline, Shape};

pub(super) fn document(outline: &Outline) -> Value {
    let mut schema = object(outline);
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("The configuration of sensor"));
    Value::Object(schema)
}

fn object(outline: &Outline) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for item in &outline.items {
        let mut property = match &item.content {
            Content::Value(leaf) => {
                if leaf.is_required {
                    required.push(item.name);
                }
                value(leaf)
            }
            Content::Table { outline, .. } => object(outline),
            Content::Tables { outline } => {
                json!({"type": "array", "items": object(outline)}).as_object().cloned().unwrap_or_default()
            }
        };
        property.insert("description".to_owned(), json!(item.doc.replace('\n', " ")));
        properties.insert(item.name.to_owned(), Value::Object(property));
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("description".to_owned(), json!(outline.doc.replace('\n', " ")));
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema
}

fn value(leaf: &Leaf) -> Map<String, Value> {
    let mut schema = shape(&leaf.shape).as_object().cloned().unwrap_or_default();
    let key = if leaf.default.is_some() { "default" } else { "examples" };
    if let Some(example) = json_of(&leaf.example) {
        schema.insert(key.to_owned(), if leaf.default.is_some() { example } else { json!([example]) });
    }
    schema
}

/// A value in TOML as JSON.
fn json_of(toml: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {toml}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

fn shape(shape_of: &Shape) -> Value {
    match shape_of {
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Whole { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
        Shape::Ratio => json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        Shape::Size { least, most } => {
            let pattern = r"^\s*[0-9]+\s*([bB]|[kKmMgG]([iI]?[bB])?)?\s*$";
            json!({"anyOf": [
                {"type": "integer", "minimum": least.0, "maximum": most.0},
                {"type": "string", "pattern": pattern},
            ]})
        }
        Shape::Time { .. } => json!({"type": "string", "pattern": r"^\s*[0-9]+\s*(ms|s|min|h)\s*$"}),
        Shape::Text(_) => json!({"type": "string"}),
        Shape::Choice(names) => json!({"enum": names}),
        Shape::List { of } => json!({"type": "array", "items": shape(of)}),
        Shape::Map { of, .. } => json!({"type": "object", "additionalProperties": shape(of)}),
        Shape::Either(shapes) => json!({"anyOf": shapes.iter().map(shape).collect::<Vec<_>>()}),
    }
}
