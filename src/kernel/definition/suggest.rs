//! What the author may have meant: the nearest of the names that would do, else all of them.

/// At most this many names are listed; a longer list helps nobody.
const LISTED: usize = 20;

/// "did you mean `views`?", or the names that there are.
pub(super) fn instead_of<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match closest(wrong, &known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => one_of(&known),
    }
}

/// "one of `a`, `b`".
pub(super) fn one_of(known: &[&str]) -> String {
    if known.is_empty() {
        return "there is none yet".into();
    }
    let more = known.len().saturating_sub(LISTED);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    let lead = if known.len() == 1 { "there is" } else { "one of" };
    format!("{lead} {}{tail}", quoted(&known[..known.len() - more]))
}

/// "`a`, `b`".
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The name within a third of the letters (a swap of two counts once), or the only one that begins with it.
pub(crate) fn closest<'n>(wrong: &str, known: &[&'n str]) -> Option<&'n str> {
    let distance = |name: &&str| strsim::osa_distance(wrong, name);
    let near = |name: &&&str| distance(name) <= (wrong.chars().count() / 3).max(1);
    let begins = |name: &&&str| wrong.len() >= 3 && name.starts_with(wrong);
    let nearest = known.iter().filter(near).min_by_key(|name| distance(name));
    nearest.or_else(|| known.iter().find(begins)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_else_all_are_listed() {
        let known = ["string", "int64", "float64"];
        assert_eq!(instead_of("strnig", known), "did you mean `string`?");
        assert_eq!(instead_of("flo", known), "did you mean `float64`?");
        assert_eq!(instead_of("varchar", known), "one of `string`, `int64`, `float64`");
        assert_eq!(instead_of("x", []), "there is none yet");
        assert_eq!(instead_of("x", ["longer"]), "there is `longer`");
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..25).map(|n| format!("some_{n:02}")).collect();
        assert!(instead_of("?", names.iter().map(String::as_str)).ends_with("`some_19` and 5 more"));
    }
}
