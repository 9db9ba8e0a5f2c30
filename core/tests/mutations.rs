//! Provider files with mistakes of every kind, thousands of them, always the same ones: none makes the parser panic, each
//! mistake is found where it stands, and no value is repeated.

use std::path::Path;

use qauth_core::{Mistake, Provider};

const OF_EACH_FILE: u32 = 150;
const CANARY: &str = "C4N4RY secret";

/// Values of every type, right for no key or for some.
const VALUES: [&str; 18] = [
    "7",
    "-1",
    "0.5",
    "true",
    "nan",
    "1e400",
    "99999999999999999999",
    "2026-01-01T00:00:00Z",
    "[]",
    "{}",
    "[[], {}]",
    "{ a = { b = [1] } }",
    "\"\"",
    "\"C4N4RY secret\"",
    "[\"C4N4RY secret\", \"C4N4RY secret\"]",
    "{ header = \"C4N4RY secret\" }",
    "{ a = \"C4N4RY secret\" }",
    "\"\"\"C4N4RY secret",
];

const PIECES: [&str; 20] = [
    "\"", "'", "\\", "{", "}", "[", "]", "=", ".", "#", "\n", "\r", "\0", "\u{7f}", "ü", "\u{feff}", "\u{202e}", "\t",
    ",", "{x}",
];

/// xorshift64*: the same numbers on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

fn mutated(text: &str, chance: &mut Chance) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (at, other) = (chance.below(lines.len()), chance.below(lines.len()));
    if lines.is_empty() {
        return text.to_owned();
    }
    let value_of = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    match chance.below(8) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(other, lines[at].clone()),
        2 => lines.swap(at, other),
        3 => lines[at] = lines[at].replacen(['e', 'a', 'o'], "x", 1),
        4 => {
            if let (Some((key, value)), Some((other_key, other_value))) =
                (value_of(&lines[at]), value_of(&lines[other]))
            {
                lines[at] = format!("{key}={other_value}");
                lines[other] = format!("{other_key}={value}");
            }
        }
        5 => {
            if let Some((key, _)) = value_of(&lines[at]) {
                lines[at] = format!("{key}= {}", chance.of(&VALUES));
            }
        }
        6 => {
            let end = text.floor_char_boundary(chance.below(text.len()));
            return text[..end].to_owned();
        }
        _ => {
            let place = text.floor_char_boundary(chance.below(text.len()));
            return format!("{}{}{}", &text[..place], chance.of(&PIECES), &text[place..]);
        }
    }
    lines.join("\n")
}

fn judge(text: &str) {
    let read = Provider::from_toml(text);
    let mistakes = Provider::check_toml(text);
    assert_eq!(read.is_ok(), mistakes.is_empty(), "{read:?} and {mistakes:?} of:\n{text}");
    let lines: Vec<&str> = text.split('\n').collect();
    for mistake in &mistakes {
        let Mistake { line, column, key, message } = mistake;
        let width = lines.get(line - 1).map(|line| line.chars().count());
        assert!(width.is_some_and(|width| (1..=width + 1).contains(column)), "{mistake} lies outside of:\n{text}");
        let known = key.is_empty() || key.split('.').any(|part| text.contains(part));
        assert!(known || message.contains("missing"), "{mistake} names no key of:\n{text}");
        assert!(!message.contains("C4N4RY"), "{mistake} repeats a value of:\n{text}");
    }
    if let Err(error) = read {
        // A provider's name, whatever it is, says whose mistake it is.
        let said = error.to_string().replace(&format!("provider {CANARY:?}"), "");
        assert!(!said.contains("C4N4RY"), "{said} repeats a value of:\n{text}");
    }
    assert!(mistakes.is_sorted_by_key(|mistake| (mistake.line, mistake.column)));
}

#[test]
fn no_mutation_of_a_provider_file_makes_the_parser_panic_or_point_elsewhere() {
    let mut texts: Vec<String> = Provider::all().map(|provider| provider.source().to_owned()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers/contrib");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    texts.extend(paths.iter().map(|path| std::fs::read_to_string(path).unwrap()));
    let mut chance = Chance(0x5EED_0F9A_B5C3_11D7);
    for text in &texts {
        for round in 0..OF_EACH_FILE {
            let mut text = text.clone();
            for _ in 0..=round % 4 {
                text = mutated(&text, &mut chance);
            }
            judge(&text);
        }
    }
    assert!(texts.iter().all(|text| !text.contains(CANARY)));
}

#[test]
fn deep_and_long_nonsense_is_refused_and_not_followed() {
    for text in [
        "a = ".to_owned() + &"[".repeat(100_000),
        "a = ".to_owned() + &"{ a = ".repeat(100_000),
        "a.".repeat(100_000) + "a = 1",
        "[".to_owned() + &"a.".repeat(100_000) + "a]",
        "[[grants.login.steps]]\n".repeat(5_000),
        (0..5_000).map(|number| format!("key{number} = 1\n")).collect(),
    ] {
        assert!(Provider::from_toml(&text).is_err());
        assert!(!Provider::check_toml(&text).is_empty());
    }
}
