//! A page for people: a form of filters and a table. One file, no script, nothing from elsewhere; whatever was captured is
//! escaped, and the content security policy would not run it either.

use std::fmt::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::query::{Listing, Order, Page, Stored};
use crate::record::write_time;
use crate::store::Totals;
use crate::view::{ask, question};

const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Collector</title>
<meta name=\"viewport\" content=\"width=device-width\">
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
form { display: flex; flex-wrap: wrap; gap: .6rem; align-items: end; margin: 1.2rem 0 }
label { display: flex; flex-direction: column; font-size: .85rem }
input, button { font: inherit; padding: .25rem .5rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8885; overflow-wrap: anywhere }
td:first-child, td:nth-child(2) { white-space: nowrap }
.note { border-left: .25rem solid #c80; padding-left: .8rem }
</style></head><body><h1>Collector</h1>
<p class=\"note\">This is a stand-in that takes what a sensor delivers, for tests and for a first look. It is not the platform, and analyses nothing.</p>
";

/// The form's fields: name and hint.
const FIELDS: [(&str, &str); 6] = [
    ("host", "api.example"),
    ("path", "/v1/"),
    ("method", "GET"),
    ("status", "404, 4xx, none"),
    ("since", "2026-11-20T22:13:17Z"),
    ("until", "2026-11-20T23:00:00Z"),
];

/// The longest piece of captured text that the table shows, in characters.
const MAX_CELL: usize = 200;

pub(crate) async fn page(State(app): State<Arc<App>>, request: Request) -> Response {
    let defaults = Page { limit: 50, order: Order::Newest, ..Page::default() };
    let (filter, page) = match question(request.uri(), defaults) {
        Ok(question) => question,
        Err(refusal) => return refusal.into_response(),
    };
    let page = Page { records: false, ..page };
    let answer = ask(&app, move |store| Ok((store.transactions(&filter, &page)?, store.totals()?))).await;
    match answer {
        Ok((listing, totals)) => {
            let mut response = Response::new(Body::from(render(request.uri(), &listing, totals)));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn render(uri: &Uri, listing: &Listing, totals: Totals) -> String {
    let mut html = String::from(HEAD);
    let Totals { batches, stored, duplicates, .. } = totals;
    // Writing to a String does not fail.
    let _ = write!(
        html,
        "<p>{stored} transactions in {batches} batches; {duplicates} repeats were not stored again.</p>\n<form>"
    );
    let given: Vec<(String, String)> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    for (name, hint) in FIELDS {
        let value = given.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value);
        let _ = write!(
            html,
            "<label>{name}<input name=\"{name}\" value=\"{}\" placeholder=\"{hint}\"></label>",
            Escaped(value)
        );
    }
    html.push_str(
        "<button>Filter</button></form>\n<table><thead><tr><th>Time<th>Method<th>Host<th>Path<th>Status<th>Client<th>Server<th>Sent again<th>Record</tr></thead><tbody>\n",
    );
    for Stored { summary, .. } in &listing.transactions {
        let cell = |text: &Option<String>| {
            text.as_deref().map_or_else(|| "–".to_owned(), |text| Escaped(&shortened(text)).to_string())
        };
        let status = summary.status.map_or_else(|| "–".to_owned(), |status| status.to_string());
        let link: String = form_urlencoded::byte_serialize(summary.id.as_bytes()).collect();
        // A blank is `+` in a form and %20 in a path.
        let link = link.replace('+', "%20");
        let _ = writeln!(
            html,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{status}<td>{}<td>{}<td>{}<td><a href=\"/transactions/{link}\">JSON</a></tr>",
            write_time(summary.time),
            cell(&summary.method),
            cell(&summary.host),
            cell(&summary.path),
            Escaped(&summary.client),
            Escaped(&summary.server),
            summary.repeats,
        );
    }
    html.push_str("</tbody></table>\n");
    if listing.transactions.is_empty() {
        html.push_str("<p>Nothing that was stored passes this filter.</p>\n");
    }
    if let Some(next) = listing.next {
        let mut link = form_urlencoded::Serializer::new(String::new());
        link.extend_pairs(given.iter().filter(|(name, value)| name != "cursor" && !value.is_empty()));
        let link = link.append_pair("cursor", &next.to_string()).finish();
        let _ = writeln!(html, "<p><a href=\"/?{}\">Further transactions</a></p>", Escaped(&link));
    }
    html.push_str("</body></html>\n");
    html
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_CELL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Text for HTML content and quoted attributes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Neither shown nor harmless in HTML.
                control if control.is_control() => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_captured_becomes_markup() {
        let hostile = "<script>alert('x')</script>\"&\0";
        assert_eq!(Escaped(hostile).to_string(), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\u{fffd}");
        assert_eq!(shortened(&"ä".repeat(300)).chars().count(), MAX_CELL + 1);
    }
}
