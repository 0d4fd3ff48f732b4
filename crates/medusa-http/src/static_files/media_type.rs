//! The media type of a file, by its name alone. The content is never looked into: a type that
//! depends on it can be forged by whoever wrote it.

/// What the type of a name is, and whether it pays to compress it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// The value of Content-Type.
    pub(crate) value: &'static str,
    pub(crate) is_compressible: bool,
}

/// Text is taken for UTF-8, which the type must say: HTML and CSS may say it themselves, plain text
/// can't. These are the text types that are in use; others go without.
const TEXT: &[(&str, &str)] = &[
    ("text/html", "text/html; charset=utf-8"),
    ("text/css", "text/css; charset=utf-8"),
    ("text/javascript", "text/javascript; charset=utf-8"),
    ("application/javascript", "text/javascript; charset=utf-8"),
    ("text/plain", "text/plain; charset=utf-8"),
    ("text/markdown", "text/markdown; charset=utf-8"),
    ("text/csv", "text/csv; charset=utf-8"),
    ("text/tab-separated-values", "text/tab-separated-values; charset=utf-8"),
    ("text/xml", "text/xml; charset=utf-8"),
    ("text/calendar", "text/calendar; charset=utf-8"),
    ("text/vcard", "text/vcard; charset=utf-8"),
    ("text/vtt", "text/vtt; charset=utf-8"),
    ("text/cache-manifest", "text/cache-manifest; charset=utf-8"),
    ("text/x-python", "text/x-python; charset=utf-8"),
    ("text/x-rust", "text/x-rust; charset=utf-8"),
    ("text/x-c", "text/x-c; charset=utf-8"),
    ("text/x-toml", "text/x-toml; charset=utf-8"),
    ("text/x-yaml", "text/x-yaml; charset=utf-8"),
    ("text/x-log", "text/x-log; charset=utf-8"),
];

/// Types that compress well though they don't say that they are text.
const COMPRESSIBLE: &[&str] = &[
    "application/json",
    "application/manifest+json",
    "application/wasm",
    "application/xml",
    "application/rtf",
    "application/toml",
    "application/x-sh",
    "application/sql",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
];

/// The type of a file with this name.
pub(crate) fn of(name: &[u8]) -> MediaType {
    let extension = name
        .iter()
        .rposition(|&byte| byte == b'.')
        .and_then(|dot| std::str::from_utf8(&name[dot + 1..]).ok())
        .unwrap_or_default();
    let guess = mime_guess::from_ext(extension).first_raw().unwrap_or("application/octet-stream");
    let text = TEXT.iter().find(|(bare, _)| *bare == guess);
    let is_compressible = text.is_some()
        || guess.starts_with("text/")
        || guess.ends_with("+xml")
        || guess.ends_with("+json")
        || COMPRESSIBLE.contains(&guess);
    MediaType { value: text.map_or(guess, |(_, with_charset)| with_charset), is_compressible }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_names() {
        let table: &[(&[u8], &str, bool)] = &[
            (b"index.html", "text/html; charset=utf-8", true),
            (b"a/b/INDEX.HTM", "text/html; charset=utf-8", true),
            (b"style.css", "text/css; charset=utf-8", true),
            (b"app.js", "text/javascript; charset=utf-8", true),
            (b"app.mjs", "text/javascript; charset=utf-8", true),
            (b"notes.txt", "text/plain; charset=utf-8", true),
            (b"data.json", "application/json", true),
            (b"picture.svg", "image/svg+xml", true),
            (b"feed.atom", "application/atom+xml", true),
            (b"module.wasm", "application/wasm", true),
            (b"photo.jpg", "image/jpeg", false),
            (b"photo.png", "image/png", false),
            (b"font.woff2", "font/woff2", false),
            (b"film.mp4", "video/mp4", false),
            (b"archive.tar.gz", "application/gzip", false),
            (b"README", "application/octet-stream", false),
            (b"odd.\xff\xfe", "application/octet-stream", false),
            (b"ends.", "application/octet-stream", false),
            (b"", "application/octet-stream", false),
        ];
        for (name, value, is_compressible) in table {
            let expected = MediaType { value, is_compressible: *is_compressible };
            assert_eq!(of(name), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn every_type_is_fit_for_a_header() {
        for (bare, value) in TEXT {
            assert!(value.is_ascii() && !value.contains(['\r', '\n']));
            assert!(value.ends_with("; charset=utf-8"), "{bare}");
        }
    }
}
