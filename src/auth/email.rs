//! E-mail addresses in their one normal form, by which they are compared.
//! Never whether somebody has one, nor whether a server takes mail for it.

use super::contact::Address;
use email_address::{EmailAddress, Options};

/// The longest address that can be a path of SMTP: 256 octets with the brackets (RFC 5321, 4.5.3.1.3).
const MOST_BYTES: usize = 254;

/// The address that this text writes; `None` if there can be none such.
///
/// The syntax is that of RFC 5321 without what nobody is reached by: comments, names beside it, quoted local parts,
/// domains of one label and addresses of hosts in place of a domain. A domain beyond ASCII takes the form of the DNS
/// (UTS 46); the local part stays as it is, in case its server cares.
pub fn address(text: &str) -> Option<Address> {
    let text = text.trim();
    let (local, domain) = text.rsplit_once('@')?;
    // Letters beyond ASCII in the local part need a server with SMTPUTF8, and look alike in ways that nobody sees.
    if !local.is_ascii() || local.starts_with('"') {
        return None;
    }
    let domain = idna::domain_to_ascii_strict(domain).ok()?;
    let spelt = format!("{local}@{domain}");
    let options = Options::default().with_required_tld().without_domain_literal().without_display_text();
    if spelt.len() > MOST_BYTES || EmailAddress::parse_with_options(&spelt, options).is_err() {
        return None;
    }
    Some(Address { key: key(&spelt), spelt })
}

/// The normal form of an address that was checked: in lower case. Servers may tell `Ann@` from `ann@`, but none does,
/// and two accounts of one mailbox would be one too many.
pub fn key(spelt: &str) -> String {
    spelt.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_has_one_normal_form() {
        for (text, key) in [
            ("ann@example.org", Some("ann@example.org")),
            ("  Ann.B+chat@Example.ORG ", Some("ann.b+chat@example.org")),
            ("ann@bücher.example", Some("ann@xn--bcher-kva.example")),
            ("ann@BÜCHER.example", Some("ann@xn--bcher-kva.example")),
            ("ann@xn--bcher-kva.example", Some("ann@xn--bcher-kva.example")),
            ("o'neil_{x}@a-b.co.uk", Some("o'neil_{x}@a-b.co.uk")),
            ("ann@localhost", None),
            ("ann@[127.0.0.1]", None),
            ("ann@-bad.example", None),
            ("ann@bad..example", None),
            ("ann@example.org.", None),
            ("ann..b@example.org", None),
            (".ann@example.org", None),
            ("änn@example.org", None),
            ("\"ann b\"@example.org", None),
            ("Ann <ann@example.org>", None),
            ("ann@example.org\r\nBcc: all@example.org", None),
            ("ann b@example.org", None),
            ("ann@exa mple.org", None),
            ("ann@@example.org", None),
            ("@example.org", None),
            ("ann@", None),
            ("ann", None),
            ("", None),
        ] {
            assert_eq!(address(text).map(|address| address.key).as_deref(), key, "{text}");
        }
        assert_eq!(address("Ann@EXAMPLE.org").unwrap().spelt, "Ann@example.org");
        assert_eq!(address(&format!("{}@example.org", "a".repeat(65))), None);
        assert_eq!(address(&format!("a@{}.org", "a.".repeat(125))), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail_and_its_form_is_its_own(text in "\\PC{0,40}|[a-zA-Z.+]{1,12}@[a-z.ü-]{1,12}\\.[a-z]{2,5}") {
            if let Some(found) = address(&text) {
                prop_assert_eq!(address(&found.spelt), Some(found.clone()));
                let normal = address(&found.key).unwrap();
                prop_assert_eq!(&normal.key, &found.key);
                prop_assert!(found.key.is_ascii() && !found.spelt.contains(char::is_whitespace));
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(text in any::<String>()) {
            let _ = address(&text);
        }
    }
}
