//! URLs and options as they may be shown: without what is secret in them.

const HIDDEN: &str = "***";

/// Parts of a name by which its value is taken for a secret.
const TELLING: [&str; 6] = ["password", "secret", "token", "key", "credential", "oauthbearer"];

/// How names of Kafka options begin.
const OPTIONS: &str = "acks allow api auto batch bootstrap broker check client compression connections debug delivery \
                       enable fetch heartbeat https internal isolation linger log max message metadata partition \
                       partitioner plugin queue queued receive reconnect request retries retry sasl security session \
                       socket ssl statistics sticky topic";

/// A URL without its password, and without secrets among its parameters. Of a list of hosts with users, each.
pub(super) fn shown_url(url: &str) -> String {
    let Some((users, rest)) = url.rsplit_once('@') else { return shown_place(url) };
    let (scheme, users) =
        users.split_once("://").map_or((String::new(), users), |(it, users)| (format!("{it}://"), users));
    match users.split_once(':') {
        // A password may hold any character, so it ends at the last `@`.
        Some((user, _)) => format!("{scheme}{user}:{HIDDEN}@{}", shown_place(rest)),
        None => format!("{scheme}{}@{}", shown_place(users), shown_place(rest)),
    }
}

/// `name=value;name=value`, the values of telling names hidden.
pub(super) fn shown_options(options: &str) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut is_secret = false;
    for pair in options.split(';') {
        // A secret may hold a `;`: what follows is of it, up to what is an option for certain.
        if is_secret && !is_option(pair) {
            continue;
        }
        is_secret = pair.split_once('=').is_some_and(|(name, _)| tells(name));
        shown.push(shown_pair(pair));
    }
    shown.join(";")
}

/// What there is of a URL beside users and passwords. It may begin within the parameters: they may hold an `@`.
fn shown_place(place: &str) -> String {
    let Some(end) = place.find(['?', '&']) else { return place.to_owned() };
    let (address, parameters) = place.split_at(end);
    let pairs: Vec<String> = parameters[1..].split('&').map(shown_pair).collect();
    format!("{address}{}{}", &parameters[..1], pairs.join("&"))
}

fn shown_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if tells(name) => format!("{name}={HIDDEN}"),
        // Without a name nobody knows what it is.
        None if !pair.trim().is_empty() => HIDDEN.to_owned(),
        _ => pair.to_owned(),
    }
}

fn is_option(pair: &str) -> bool {
    let name = pair.split_once('=').map(|(name, _)| name.trim());
    name.is_some_and(|name| OPTIONS.split(' ').any(|option| name.split('.').next() == Some(option)))
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
        assert_eq!(shown_url("redis://:pa?ss@h"), "redis://:***@h", "a password may hold what a query begins with");
        assert_eq!(shown_url("//:secret@host"), "//:***@host");
        assert_eq!(shown_url("postgres://h/shop?password=x&user=a@b"), "postgres://h/shop?password=***&user=a@b");
        assert_eq!(shown_url("postgres://h:1/shop?user=a@b&password=x"), "postgres://h:***@b&password=***");
    }

    #[test]
    fn options_are_shown_without_the_values_of_telling_names() {
        let options = "sasl.username=ada;sasl.password=x;ssl.key.pem=y;linger.ms=5";
        assert_eq!(shown_options(options), "sasl.username=ada;sasl.password=***;ssl.key.pem=***;linger.ms=5");
        assert_eq!(shown_options("hunter2;a=1;"), "***;a=1;");
        let cut_in_two = "sasl.password=ab;cd=ef;gh; sasl.username=ada;acks=1";
        assert_eq!(shown_options(cut_in_two), "sasl.password=***; sasl.username=ada;acks=1");
    }
}
