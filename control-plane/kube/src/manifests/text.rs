//! Text of people in places where Kubernetes puts variables in.

/// `text` so that Kubernetes passes it on as it is: in arguments and values it
/// reads `$(NAME)` as a variable and `$$` as `$`.
pub(super) fn verbatim(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule of Kubernetes (third_party/forked/golang/expansion), for a text without any variable known.
    fn expanded(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match (character, rest.clone().next()) {
                ('$', Some('$')) => {
                    rest.next();
                    out.push('$');
                }
                ('$', Some('(')) => panic!("{text} has a reference"),
                _ => out.push(character),
            }
        }
        out
    }

    #[test]
    fn kubernetes_puts_nothing_in() {
        for text in ["", "a", "$", "$$", "$(PATH)", "a$(B)c", "$$(X)", "100$", "$(", "${X}"] {
            assert_eq!(expanded(&verbatim(text)), text);
        }
    }
}
