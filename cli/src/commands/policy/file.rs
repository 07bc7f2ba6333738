//! The policy file that commands name, or the environment does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use posthaste_policy::{Policy, Problem};

use crate::failure::{Failure, say};

/// Which file.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PolicyFile {
    /// The policy file
    #[arg(long = "policy", env = "POSTHASTE_POLICY", value_name = "FILE")]
    policy: Option<OsString>,
}

/// Why a file gives no policy.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It cannot be read at all.
    File(PathBuf, std::io::Error),
    /// What it says is wrong.
    Problems(PathBuf, Vec<Problem>),
}

impl Unreadable {
    /// `FILE:12: shaping[2].rate: …`, one a problem.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::File(path, error) => vec![format!("{}: {error}", path.display())],
            Self::Problems(path, problems) => problems.iter().map(|problem| line(path, problem)).collect(),
        }
    }

    /// Says it all on stderr; what was given is wrong.
    pub(crate) fn told(&self) -> Failure {
        for line in self.lines() {
            say(&line);
        }
        Failure::InputTold
    }
}

/// A problem as compilers write them.
fn line(path: &Path, problem: &Problem) -> String {
    let path = path.display();
    match (problem.line, problem.key.as_str()) {
        (0, "") => format!("{path}: {}", problem.message),
        (0, key) => format!("{path}: {key}: {}", problem.message),
        (line, "") => format!("{path}:{line}: {}", problem.message),
        (line, key) => format!("{path}:{line}: {key}: {}", problem.message),
    }
}

/// Reads a policy file. Files that it names without a path from the root are beside it.
pub(crate) fn read(path: &Path) -> Result<Policy, Unreadable> {
    let text = std::fs::read_to_string(path).map_err(|error| Unreadable::File(path.to_owned(), error))?;
    let mut policy =
        Policy::parse(&text).map_err(|problems| Unreadable::Problems(path.to_owned(), problems))?;
    if let (Some(ca_file), Some(directory)) = (&policy.tls.ca_file, path.parent()) {
        policy.tls.ca_file = Some(directory.join(ca_file));
    }
    Ok(policy)
}

impl PolicyFile {
    /// Its path, if one was named; an empty variable names none.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.policy.as_deref().filter(|path| !path.is_empty()).map(Path::new)
    }

    /// What it says; without a file, the built-in policy.
    pub(crate) fn read_or_default(&self) -> Result<Policy, Failure> {
        match self.path() {
            Some(path) => read(path).map_err(|unreadable| unreadable.told()),
            None => Ok(Policy::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_written_as_compilers_do() {
        let check = |at: usize, key: &str, expected: &str| {
            let problem = Problem { line: at, key: key.to_owned(), message: "is wrong".to_owned() };
            assert_eq!(line(Path::new("p.toml"), &problem), expected);
        };
        check(12, "shaping[2].rate", "p.toml:12: shaping[2].rate: is wrong");
        check(3, "", "p.toml:3: is wrong");
        check(0, "tls", "p.toml: tls: is wrong");
        check(0, "", "p.toml: is wrong");
    }
}
