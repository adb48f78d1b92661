//! Names that a user types: which exist, and which was meant.

/// The sentence that says that there is no `kind` of this name, and what was probably meant; with its full stop.
pub fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match closest(name, &known) {
        Some(meant) => format!("there is no {kind} `{name}`; did you mean `{meant}`?"),
        None => format!("there is no {kind} `{name}`; there are {}.", list(&known)),
    }
}

fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |candidate: &&str| strsim::jaro_winkler(&name.to_lowercase(), candidate);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.75).then_some(best)
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_gets_the_one_that_was_meant() {
        let known = ["default", "sockets", "sixty-four"];
        assert!(unknown("configuration", "socket", known).ends_with("did you mean `sockets`?"));
        assert!(unknown("configuration", "sixtyfour", known).ends_with("did you mean `sixty-four`?"));
    }

    #[test]
    fn a_name_like_no_other_gets_the_list() {
        let said = unknown("balancer", "zzz", ["none", "idle_steal"]);
        assert_eq!(said, "there is no balancer `zzz`; there are `none`, `idle_steal`.");
    }
}
