//! The languages that a client asks to be written to in.
//! Never which of them there are: see `auth::texts`.

use actix_web::http::header::{AcceptLanguage, Preference, Quality};
use actix_web::{HttpMessage, HttpRequest};
use std::rc::Rc;

/// What `Accept-Language` names, the dearest first (RFC 9110, 12.5.4). What is unacceptable (`q=0`) is left out, and what
/// is less dear than any other (`*`) too; a header that cannot be read says nothing.
pub fn languages(req: &HttpRequest) -> Option<Rc<str>> {
    const KEPT: usize = 16;
    let mut named = req.get_header::<AcceptLanguage>()?;
    named.retain(|language| language.quality > Quality::ZERO);
    let dearest = named.ranked().into_iter().map_while(Preference::into_item).take(KEPT);
    let dearest: Vec<String> = dearest.map(|language| language.to_string()).collect();
    (!dearest.is_empty()).then(|| dearest.join(",").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn languages_are_in_the_order_in_which_they_are_liked() {
        for (header, expected) in [
            ("de", Some("de")),
            ("da, en-gb;q=0.8, en;q=0.7", Some("da,en-GB,en")),
            ("en;q=0.5, fr-CA ; q=0.9,de", Some("de,fr-CA,en")),
            ("de;q=0, fr;q=0.001, en;q=0.000", Some("fr")),
            // Any other is dearer than Spanish.
            ("nl, *;q=0.5, es;q=0.1", Some("nl")),
            ("*", None),
            ("", None),
            (", ;q=1,!, de", Some("de")),
            ("de;q=2, fr", Some("fr")),
        ] {
            let req = TestRequest::default().insert_header(("Accept-Language", header)).to_http_request();
            assert_eq!(languages(&req).as_deref(), expected, "{header}");
        }
        let several = TestRequest::default()
            .append_header(("Accept-Language", "es;q=0.3"))
            .append_header(("Accept-Language", "fr"))
            .to_http_request();
        assert_eq!(languages(&several).as_deref(), Some("fr,es"));
        assert_eq!(languages(&TestRequest::default().to_http_request()), None);
        let many = vec!["de"; 1000].join(",");
        let many = TestRequest::default().insert_header(("Accept-Language", many)).to_http_request();
        assert!(languages(&many).unwrap().len() < 100);
    }
}
