use super::*;

/// The hash of some token.
const HASH: &str = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";
const OTHER: &str = "4eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";

fn fault(text: &str) -> String {
    Principals::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_file_has_principals_comments_and_empty_lines() {
    let text = format!(
        "# who may call\r\n\n  gateway san:dns:Gateway.Shop.Example gateway\t# the one in front\r\n\
         checkout-1\ttoken:sha256:{HASH} checkout,viewer\n\
         checkout-1 token:sha256:{OTHER} viewer,checkout # the new token\n\
         ops san:uri:spiffe://shop/ops#1 operator"
    );
    let principals = Principals::parse(text.as_bytes()).unwrap();
    assert_eq!(principals.count(), 3);
    let by = |name| principals.by_names(&[name]).map(|principal| principal.name.to_string()).ok();
    assert_eq!(by(SubjectName::Dns("gateway.shop.example".to_owned())).as_deref(), Some("gateway"));
    assert_eq!(by(SubjectName::Uri("spiffe://shop/ops#1".to_owned())).as_deref(), Some("ops"));
    assert_eq!(by(SubjectName::Uri("spiffe://shop/OPS#1".to_owned())), None);
    for hash in [HASH, OTHER] {
        let principal = principals.by_token(&TokenHash::parse(hash).unwrap()).unwrap();
        assert_eq!((&*principal.name, principal.roles), ("checkout-1", Roles::of(&[Role::Checkout, Role::Viewer])));
    }
}

#[test]
fn a_file_may_have_nobody() {
    for text in ["", "\n\n", "# nobody", "  # nobody\n#"] {
        assert_eq!(Principals::parse(text.as_bytes()).unwrap().count(), 0, "{text:?}");
    }
}

#[test]
fn a_wrong_line_is_named_with_what_to_write() {
    for (line, expected) in [
        ("hunter2", "has 1 column: write name  san:dns:NAME"),
        ("hunter2 san:dns:a", "has 2 columns: write name"),
        ("a san:dns:a checkout, viewer", "has 4 columns"),
        ("hun/ter2 san:dns:a checkout", "has a name that can't be used"),
        ("a\u{e9} san:dns:a checkout", "has a name that can't be used"),
        (&format!("{} san:dns:a checkout", "a".repeat(65)), "1 to 64 letters"),
        ("unknown san:dns:a checkout", "stands for callers without a name"),
        ("a hunter2 checkout", "has a second column of an unknown kind: write san:dns:NAME"),
        ("a SAN:DNS:a checkout", "has a second column of an unknown kind"),
        ("a cn:a checkout", "has a second column of an unknown kind"),
        ("a san:ip:127.0.0.1 checkout", "has a second column of an unknown kind"),
        ("a san:dns: checkout", "has a DNS name that can't be used"),
        ("a san:dns:*.hunter2.example checkout", "without *"),
        ("a san:dns:hunter2:443 checkout", "without a port"),
        ("a san:uri:hunter2 checkout", "has a URI that can't be used"),
        ("a san:uri:spiffe://h\u{fc}nter2 checkout", "has a URI that can't be used"),
        ("a token:sha256:hunter2 checkout", "write the 64 hexadecimal digits"),
        ("a token:sha256: checkout", "write the 64 hexadecimal digits"),
        (
            "a token:sha256:E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 checkout",
            "has the hash of an empty token",
        ),
        ("a token:hunter2 checkout", "has a second column of an unknown kind"),
        ("a san:dns:a hunter2", "has an unknown role, number 1 of its list: write some of checkout, gateway"),
        ("a san:dns:a checkout,hunter2", "has an unknown role, number 2"),
        ("a san:dns:a checkout,", "has an unknown role, number 2"),
        ("a san:dns:a Checkout", "has an unknown role, number 1"),
        (&format!("hunter2 san:uri:x:{} checkout", "x".repeat(4096)), "has more than 4096 bytes"),
    ] {
        let fault = fault(&format!("# first\n\n{line}\n"));
        assert!(fault.starts_with("line 3 ") && fault.contains(expected), "{line}: {fault}");
        assert!(!fault.contains("hunter2") && !fault.contains('\n'), "{line}: {fault}");
    }
}

#[test]
fn a_credential_has_one_line_and_a_name_has_the_same_roles_on_all_of_its_lines() {
    for (second, expected) in [
        (format!("b token:sha256:{HASH} checkout"), "line 2 has the same credential as line 1"),
        (format!("a token:sha256:{} checkout", HASH.to_uppercase()), "line 2 has the same credential as line 1"),
        (format!("a token:sha256:{OTHER} viewer"), "line 2 gives other roles to the name of line 1"),
        (format!("a token:sha256:{OTHER} checkout,viewer"), "line 2 gives other roles"),
    ] {
        let fault = fault(&format!("a token:sha256:{HASH} checkout\n{second}\n"));
        assert!(fault.contains(expected), "{second}: {fault}");
        assert!(!fault.contains(HASH) && !fault.contains(OTHER), "{fault}");
    }
    let fault = fault("a san:dns:SHOP checkout\nb san:dns:shop checkout");
    assert!(fault.contains("line 2 has the same credential as line 1"), "{fault}");
}

#[test]
fn a_file_has_its_limits() {
    assert_eq!(Principals::parse(b"\xff").unwrap_err().to_string(), "it is not UTF-8 text");
    assert_eq!(fault(&"#\n".repeat(131_073)), "it has more than 262144 bytes");
    let many: String = (0..1001).map(|number| format!("a san:dns:a{number} checkout\n")).collect();
    assert_eq!(fault(&many), "it has more than 1000 lines with a principal");
    let missing = PrincipalsFile::new("/no/such/file".into()).read().unwrap_err().to_string();
    assert!(missing.starts_with("it can't be read: No such file"), "{missing}");
}
