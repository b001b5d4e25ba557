//! What a process does of the service's work: `api`, `stream`, `archive`, or all of it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One kind of work; processes with the same role share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Answers HTTP requests: lookups, ingest, definitions, jobs.
    Api,
    /// Folds the event log into the online store.
    Stream,
    /// Copies the event log into the offline store.
    Archive,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Api, Role::Stream, Role::Archive];

    /// As the setting and answers have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Api => "api",
            Role::Stream => "stream",
            Role::Archive => "archive",
        }
    }
}

/// The roles of one process, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    pub fn all() -> Roles {
        Roles(BTreeSet::from(Role::ALL))
    }

    pub fn only(role: Role) -> Roles {
        Roles(BTreeSet::from([role]))
    }

    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether the process does all the work, and so may do it alone.
    pub fn are_all(&self) -> bool {
        self.0.len() == Role::ALL.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = Role> {
        self.0.iter().copied()
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Roles, String> {
        let named = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let known = |name: &str| Role::ALL.into_iter().find(|role| role.as_str() == name);
        let roles = named.map(|name| {
            known(name).ok_or_else(|| format!("`{name}` is not a role: `api`, `stream` and `archive` are"))
        });
        let roles: BTreeSet<Role> = roles.collect::<Result<_, _>>()?;
        if roles.is_empty() {
            Err("a process has at least one role: `api`, `stream`, `archive`".to_owned())
        } else {
            Ok(Roles(roles))
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Role::as_str).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_in_any_order_and_shown_in_one() {
        let roles: Roles = " archive, api,api ".parse().expect("roles");
        assert_eq!((roles.to_string().as_str(), roles.are_all()), ("api,archive", false));
        assert!(roles.has(Role::Api) && !roles.has(Role::Stream));
        assert_eq!("stream,archive,api".parse(), Ok(Roles::all()));
    }

    #[test]
    fn what_is_no_role_is_named() {
        let refused = |text: &str| text.parse::<Roles>().expect_err("refused");
        assert_eq!(refused("api,worker"), "`worker` is not a role: `api`, `stream` and `archive` are");
        assert_eq!(refused(" , "), "a process has at least one role: `api`, `stream`, `archive`");
    }
}
