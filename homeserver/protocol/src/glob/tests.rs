//! Examples, and agreement with a slow matcher that is plainly right.

use proptest::prelude::*;

use super::*;

fn whole(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).is_some_and(|glob| glob.matches(text))
}

fn words(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).is_some_and(|glob| glob.matches_words(text))
}

#[test]
fn whole_texts() {
    assert!(whole("", "") && !whole("", "a"));
    assert!(whole("*", "") && whole("*", "any") && whole("**", "any"));
    assert!(whole("a*c", "ac") && whole("a*c", "abcbc") && !whole("a*c", "abcb"));
    assert!(whole("?", "é") && !whole("?", "") && !whole("?", "ab"));
    assert!(whole("M.Room.Message", "m.room.message") && whole("m.ROOM.*", "M.room.x"));
    assert!(whole("*.example", "a.b.example") && !whole("*.example", "example"));
    assert!(whole("a?*?b", "axyb") && !whole("a?*?b", "axb"));
}

#[test]
fn words_in_a_text() {
    assert!(
        words("cake", "the CAKE, is a lie") && words("cake", "cake") && words("cake", "(cake)")
    );
    assert!(!words("cake", "pancake") && !words("cake", "cakes") && !words("cake", "cake_"));
    assert!(words("cake", "pancake cake"), "a later occurrence counts");
    assert!(
        words("cake*lie", "cake is a lie") && words("cak?", "my cake!") && !words("cak?", "cakes")
    );
    assert!(words("foo bar", "x foo bar y") && !words("foo bar", "foo  bar"));
    assert!(
        words("ç", "aça"),
        "only ASCII letters and digits make words"
    );
    assert!(!words("", "x") && words("*", ""));
}

#[test]
fn a_pattern_beyond_the_bound_matches_nothing() {
    assert!(Glob::new(&"a".repeat(GLOB_CHARS_MAX)).is_some());
    assert!(Glob::new(&"a".repeat(GLOB_CHARS_MAX + 1)).is_none());
    assert!(
        Glob::new(&"*".repeat(GLOB_CHARS_MAX + 1))
            .unwrap()
            .matches("x")
    );
}

#[test]
fn a_literal_has_no_wildcards() {
    assert!(Glob::literal("a*?").unwrap().matches("A*?"));
    assert!(!Glob::literal("*").unwrap().matches("x"));
    assert!(matches("Ab", "aB") && matches("a*", "abc") && !matches("a", "ab"));
    assert!(matches("ΟΔΟΣ", "οδος") == whole("ΟΔΟΣ*", "οδος"));
}

#[test]
fn hostile_patterns_take_no_time() {
    assert!(!whole(
        &("a*".repeat(GLOB_CHARS_MAX - 1) + "b"),
        &"a".repeat(65_536)
    ));
    assert!(!words(
        &("a*".repeat(GLOB_CHARS_MAX - 1) + "c"),
        &"a ab ".repeat(10_000)
    ));
    assert!(
        !words("a", &"xa ".repeat(30_000)),
        "no recursion over occurrences"
    );
}

/// Backtracking over characters, for short texts.
fn slow(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|at| slow(rest, &text[at..])),
        Some((c, rest)) => text
            .split_first()
            .is_some_and(|(t, text)| (*c == '?' || c == t) && slow(rest, text)),
    }
}

fn slow_words(pattern: &[char], text: &[char]) -> bool {
    let is_word = |at: usize| {
        text.get(at)
            .is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_')
    };
    let boundary = |at: usize| at == 0 || at == text.len() || !(is_word(at - 1) && is_word(at));
    (0..=text.len()).filter(|at| boundary(*at)).any(|start| {
        (start..=text.len())
            .filter(|at| boundary(*at))
            .any(|end| slow(pattern, &text[start..end]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_backtracking(pattern in "[ab?*é ]{0,6}", text in "[ab_é ]{0,8}") {
        let (p, t) = (pattern.chars().collect::<Vec<_>>(), text.chars().collect::<Vec<_>>());
        prop_assert_eq!(whole(&pattern, &text), slow(&p, &t));
        if !pattern.is_empty() {
            prop_assert_eq!(words(&pattern, &text), slow_words(&p, &t));
        }
    }

    #[test]
    fn agrees_over_many_words_of_state(
        prefix in "[ab]{60,70}", pattern in "[ab?*]{0,6}", text in "[ab]{0,8}",
    ) {
        let (pattern, text) = (format!("{prefix}{pattern}"), format!("{prefix}{text}"));
        let (p, t) = (pattern.chars().collect::<Vec<_>>(), text.chars().collect::<Vec<_>>());
        prop_assert_eq!(whole(&pattern, &text), slow(&p, &t));
    }
}
