//! How a registry says what it wants of a caller: `WWW-Authenticate` (RFC 9110,
//! 11.6.1) and the token that answers it (distribution's "Token authentication").

/// A challenge to bring a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Where tokens are to be had.
    pub(super) realm: String,
    /// Passed on to it.
    pub(super) service: Option<String>,
    /// Passed on to it.
    pub(super) scope: Option<String>,
}

impl Challenge {
    /// The challenge in a header's value; `None` where it is no `Bearer` with a realm.
    pub(super) fn read(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim_start().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        let mut rest = rest.trim_start();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = parameter(after)?;
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
            rest = after.trim_start().strip_prefix(',').unwrap_or("").trim_start();
        }
        Some(Challenge { realm: realm?, service, scope })
    }

    /// The query that asks its realm for a token.
    pub(super) fn query(&self) -> String {
        let pairs = [("service", &self.service), ("scope", &self.scope)];
        let pairs = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// A token or a quoted string at the start of `text`, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.trim_start().strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

/// As a value in a query (RFC 3986, 2.3: everything but unreserved characters by number).
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let read = |header| Challenge::read(header).map(|c| (c.realm.clone(), c.query()));
        let pair = |realm: &str, query: &str| Some((realm.to_owned(), query.to_owned()));
        assert_eq!(
            read(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/node:pull""#
            ),
            pair("https://auth.docker.io/token", "service=registry.docker.io&scope=repository%3Alibrary%2Fnode%3Apull")
        );
        assert_eq!(
            read(r#"bearer  realm="https://a/t" , error="x,y=\"z\"", service=s"#),
            pair("https://a/t", "service=s")
        );
        assert_eq!(read(r#"Bearer realm="https://a/t""#), pair("https://a/t", ""));
        for none in
            ["", "Bearer", "Basic realm=\"x\"", "Bearer service=\"x\"", "Bearer realm=\"open", "Bearer realm=\"a\\"]
        {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
