//! Where the machine's apt gets its packages from, in both forms of apt's configuration (sources.list(5)).

use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A suite of a distribution: `bookworm`, `sid`, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite(String);

impl Suite {
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A place that packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// The distribution's own mirror, as the machine is configured to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// `debian`, `ubuntu`, …
    distribution: String,
    codename: String,
    mirror: Mirror,
}

impl Sources {
    pub fn of_this_machine() -> Result<Self> {
        Self::read(Path::new("/"))
    }

    fn read(root: &Path) -> Result<Self> {
        let release =
            fs::read_to_string(root.join("etc/os-release")).context("cannot read /etc/os-release")?;
        let mut mirrors =
            one_line(&fs::read_to_string(root.join("etc/apt/sources.list")).unwrap_or_default());
        let parts = fs::read_dir(root.join("etc/apt/sources.list.d")).into_iter().flatten().flatten();
        let mut parts: Vec<_> = parts.map(|entry| entry.path()).collect();
        parts.sort();
        for part in parts {
            let text = || fs::read_to_string(&part).unwrap_or_default();
            match part.extension().and_then(|extension| extension.to_str()) {
                Some("list") => mirrors.extend(one_line(&text())),
                Some("sources") => mirrors.extend(deb822(&text())),
                _ => {}
            }
        }
        Self::choose(&release, mirrors)
    }

    /// Other repositories often name their suites after the distribution's, but rarely a component `main` as well.
    fn choose(release: &str, mirrors: Vec<Mirror>) -> Result<Self> {
        let field = |name: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let distribution = field("ID").context("/etc/os-release has no ID")?;
        let codename = field("VERSION_CODENAME").unwrap_or_else(|| "sid".to_owned());
        let rolling = ["stable", "testing", "unstable", "sid"];
        let own = |mirror: &Mirror| {
            let named = |suite: &String| *suite == codename || rolling.contains(&suite.as_str());
            mirror.components.iter().any(|component| component == "main") && mirror.suites.iter().any(named)
        };
        let mirror = mirrors.into_iter().find(own);
        ensure!(mirror.is_some(), "apt is not configured with a mirror of {distribution} {codename}");
        Ok(Self { distribution, codename, mirror: mirror.context("just checked")? })
    }

    pub fn is_debian(&self) -> bool {
        self.distribution == "debian"
    }

    pub fn own_suites(&self) -> Vec<Suite> {
        self.mirror.suites.iter().cloned().map(Suite).collect()
    }

    /// Newer packages made for this release, where the distribution has such a suite for programs like ours.
    pub fn backports(&self) -> Option<Suite> {
        self.is_debian().then(|| Suite(format!("{}-backports", self.codename)))
    }

    /// The configuration of apt for some suites of the mirror.
    pub fn stanzas(&self, suites: &[Suite]) -> String {
        let names: Vec<&str> = suites.iter().map(Suite::name).collect();
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\n",
            self.mirror.uri,
            names.join(" "),
            self.mirror.components.join(" ")
        );
        if let Some(key) = &self.mirror.signed_by {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "Signed-By: {key}");
        }
        text
    }
}

/// `deb [options] uri suite component…`
fn one_line(text: &str) -> Vec<Mirror> {
    text.lines().filter_map(one_mirror).collect()
}

fn one_mirror(line: &str) -> Option<Mirror> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Mirror {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.map(str::to_owned),
    })
}

/// Stanzas of `Field: value` with continuation lines, separated by empty lines.
fn deb822(text: &str) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            let at = stanza.iter().position(|line| {
                line.split_once(':').is_some_and(|(field, _)| field.eq_ignore_ascii_case(name))
            })?;
            let first = stanza[at].split_once(':')?.1.trim().to_owned();
            let more = stanza[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t']));
            Some(more.fold(first, |all, line| format!("{all}\n{line}")))
        };
        let words = |name| {
            field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<String>>()
        };
        let off = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if off || !words("Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        mirrors.extend(words("URIs").into_iter().map(|uri| Mirror {
            uri,
            suites: words("Suites"),
            components: words("Components"),
            signed_by: field("Signed-By"),
        }));
    }
    mirrors
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\nID_LIKE=x\n";

    #[test]
    fn the_mirror_of_the_distribution_is_told_from_others() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let parts = root.path().join("etc/apt/sources.list.d");
        fs::create_dir_all(&parts).expect("a directory");
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).expect("a file");
        write("etc/os-release", RELEASE);
        write("etc/apt/sources.list", "deb https://other.example/apt cloud-bookworm main # x\n");
        write("etc/apt/sources.list.d/a.list", "deb [arch=amd64] https://docker.example bookworm stable\n");
        write(
            "etc/apt/sources.list.d/debian.sources",
            "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
             Components: main contrib\nSigned-By: /usr/share/keyrings/debian.gpg\n\n\
             Types: deb-src\nURIs: http://source.example\nSuites: bookworm\nComponents: main\n",
        );
        let sources = Sources::read(root.path()).expect("sources");
        assert_eq!(sources.mirror.uri, "http://mirror.example/debian");
        assert_eq!(sources.own_suites(), ["bookworm", "bookworm-updates"].map(Suite::named));
        assert_eq!(sources.backports(), Some(Suite::named("bookworm-backports")));
        assert_eq!(
            sources.stanzas(&[Suite::named("sid")]),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main contrib\n\
             Signed-By: /usr/share/keyrings/debian.gpg\n"
        );
    }

    #[test]
    fn both_forms_say_the_same() {
        let line =
            one_line("deb [arch=amd64 signed-by=/k.gpg]\thttp://m/debian sid main\n#deb http://n sid main\n");
        let stanza =
            deb822("types: deb\nuris: http://m/debian\nsuites: sid\ncomponents: main\nsigned-by: /k.gpg\n");
        assert_eq!(line, stanza);
        assert_eq!(deb822("Enabled: no\nTypes: deb\nURIs: http://m\nSuites: sid\nComponents: main\n"), []);
    }

    #[test]
    fn a_key_over_several_lines_is_kept() {
        let stanza =
            "Types: deb\nURIs: http://m\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN\n .\n AB\n";
        assert_eq!(deb822(stanza)[0].signed_by.as_deref(), Some("\n -----BEGIN\n .\n AB"));
    }

    #[test]
    fn a_machine_without_a_mirror_is_an_error() {
        let error = Sources::choose(RELEASE, Vec::new()).expect_err("no mirror");
        assert_eq!(error.to_string(), "apt is not configured with a mirror of debian bookworm");
    }
}
