//! URLs and options as they may be shown: without what is secret in them.

const HIDDEN: &str = "***";

/// Parts of a name by which its value is taken for a secret.
const TELLING: [&str; 6] = ["password", "secret", "token", "key", "credential", "oauthbearer"];

/// A URL without its password, and without secrets among its parameters. Of a list of hosts with users, each.
pub(super) fn shown_url(url: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let shown = match address.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", shown_authority(rest)),
        None => address.to_owned(),
    };
    match query {
        Some(query) => format!("{shown}?{}", shown_pairs(query, '&')),
        None => shown,
    }
}

/// `name=value;name=value`, the values of telling names hidden.
pub(super) fn shown_options(options: &str) -> String {
    shown_pairs(options, ';')
}

/// A password may hold any character, so it ends at the last `@` before the path.
fn shown_authority(rest: &str) -> String {
    let (users, host) = match rest.rsplit_once('@') {
        Some(both) => both,
        None => return rest.to_owned(),
    };
    match users.split_once(':') {
        Some((user, _)) => format!("{user}:{HIDDEN}@{host}"),
        None => format!("{users}@{host}"),
    }
}

fn shown_pairs(pairs: &str, separator: char) -> String {
    let shown = pairs.split(separator).map(|pair| match pair.split_once('=') {
        Some((name, _)) if tells(name) => format!("{name}={HIDDEN}"),
        // Without a name nobody knows what it is.
        None if !pair.trim().is_empty() => HIDDEN.to_owned(),
        _ => pair.to_owned(),
    });
    shown.collect::<Vec<_>>().join(&separator.to_string())
}

fn tells(name: &str) -> bool {
    let name = name.to_lowercase();
    TELLING.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(shown_url("redis://10.0.0.5:6379/0"), "redis://10.0.0.5:6379/0");
        assert_eq!(shown_url("rediss://ada:se@c:r/et@host:1"), "rediss://ada:***@host:1");
        assert_eq!(shown_url("redis://:secret@host"), "redis://:***@host");
        assert_eq!(shown_url("postgres://ada@host/shop"), "postgres://ada@host/shop");
        assert_eq!(
            shown_url("postgres://host/shop?user=a&sslpassword=x"),
            "postgres://host/shop?user=a&sslpassword=***"
        );
        assert_eq!(shown_url("/var/lib/offline"), "/var/lib/offline");
    }

    #[test]
    fn options_are_shown_without_the_values_of_telling_names() {
        let options = "sasl.username=ada;sasl.password=x;ssl.key.pem=y;linger.ms=5";
        assert_eq!(shown_options(options), "sasl.username=ada;sasl.password=***;ssl.key.pem=***;linger.ms=5");
        assert_eq!(shown_options("hunter2;a=1;"), "***;a=1;");
    }
}
