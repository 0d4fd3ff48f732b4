//! The files that every server serves, made anew for each run, and the configurations that are made
//! beside them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// The small reply's body, 13 octets.
pub(crate) const HELLO: &str = "Hello, world!";

const TEXT: usize = 110_000;

/// A folder with the files in `public`.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn make() -> Result<Site> {
        let site = Site { folder: tempfile::tempdir()? };
        let public = site.public();
        fs::create_dir(&public)?;
        fs::write(public.join("hello.txt"), HELLO)?;
        // `.bin`, so that nobody compresses them.
        fs::write(public.join("4k.bin"), noise(4 << 10))?;
        fs::write(public.join("1m.bin"), noise(1 << 20))?;
        fs::write(public.join("text.txt"), text(TEXT))?;
        // A server that gives up root's rights still reads them.
        fs::set_permissions(site.folder(), fs::Permissions::from_mode(0o755))?;
        Ok(site)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn public(&self) -> PathBuf {
        self.folder().join("public")
    }

    /// Writes a file beside the public ones.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }
}

/// Numbers that look drawn by lot and are the same each time (SplitMix64).
pub(crate) struct Numbers(u64);

impl Numbers {
    /// Those that begin at `seed`.
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut numbers = Numbers(1);
    (0..length).map(|_| numbers.next() as u8).collect()
}

/// Text that compresses as prose does: words of an invented language, frequent and rare ones as in any
/// (Zipf's law), in sentences and paragraphs.
pub(crate) fn text(length: usize) -> String {
    const SYLLABLES: [&str; 40] = [
        "a", "al", "an", "ar", "be", "ca", "con", "de", "di", "e", "en", "er", "es", "fo", "ge",
        "ha", "he", "i", "in", "is", "ka", "le", "li", "lo", "ma", "me", "mo", "na", "ne", "o",
        "on", "or", "pre", "ra", "re", "se", "st", "ta", "te", "ver",
    ];
    const WORDS: usize = 1500;
    let mut numbers = Numbers(7);
    let words: Vec<String> = (0..WORDS)
        .map(|rank| {
            // Frequent words are short.
            let syllables = 1 + usize::from(rank > 30) + numbers.below(2 + usize::from(rank > 300));
            (0..syllables).map(|_| SYLLABLES[numbers.below(SYLLABLES.len())]).collect()
        })
        .collect();
    let mut text = String::with_capacity(length + 200);
    while text.len() < length {
        for _ in 0..3 + numbers.below(5) {
            let count = 5 + numbers.below(18);
            for at in 0..count {
                // The word of rank r is met about 1/r times as often as the first.
                let rank = (WORDS as f64).powf(numbers.share()) as usize;
                let word = &words[rank.min(WORDS) - 1];
                match word.split_at(1) {
                    (first, rest) if at == 0 => text.extend([&first.to_uppercase(), rest]),
                    _ => text.push_str(word),
                }
                text.push_str(match (at + 1 == count, numbers.below(16)) {
                    (true, _) => ". ",
                    (false, 0) => ", ",
                    (false, _) => " ",
                });
            }
        }
        text.push_str("\n\n");
    }
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn the_text_compresses_like_prose() {
        let text = text(TEXT);
        assert_eq!(text.len(), TEXT);
        assert_eq!(text, super::text(TEXT), "the same each time");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(text.as_bytes()).unwrap();
        let ratio = TEXT as f64 / gzip.finish().unwrap().len() as f64;
        assert!((2.8..3.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn noise_does_not() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(&noise(4096)).unwrap();
        assert!(gzip.finish().unwrap().len() >= 4096);
    }
}
