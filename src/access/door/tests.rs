use super::*;
use crate::{access::PrincipalsFile, listener::SubjectName, reload::Reload};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HOLD: &str = "/flashsale.v1.FlashSaleService/CreateHold";
const ADJUST: &str = "/flashsale.v1.AdminService/AdjustStock";

fn access() -> Access {
    let text = "shop token:sha256:3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9 checkout\n\
                ops san:dns:ops.example operator\n\
                ops san:uri:spiffe://shop/ops operator\n\
                looker san:dns:looker.example viewer\n";
    Access::for_principals(Current::fixed(Principals::parse(text.as_bytes()).unwrap()))
}

fn peer(address: &str, is_tls: bool, names: &[&str]) -> Peer {
    let names = names.iter().map(|name| match name.split_once("://") {
        Some(_) => SubjectName::Uri((*name).to_owned()),
        None => SubjectName::Dns((*name).to_owned()),
    });
    let mut peer = Peer::new(Some(address.parse().unwrap()));
    (peer.connection_id, peer.is_tls, peer.names) = (7, is_tls, names.collect());
    peer
}

fn headers(authorizations: &[&str]) -> HeaderMap {
    authorizations.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
}

fn cause(verdict: Result<Caller, Denied>) -> &'static str {
    match verdict {
        Err(Denied::Unauthenticated { cause }) => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_is_believed_over_tls_and_from_this_machine_alone() {
    let token = headers(&[&format!("Bearer {TOKEN}")]);
    for (address, is_tls, is_believed) in [
        ("127.0.0.1:1", false, true),
        ("127.9.9.9:1", false, true),
        ("[::1]:1", false, true),
        ("[::ffff:127.0.0.1]:1", false, true),
        ("192.0.2.1:1", true, true),
        ("192.0.2.1:1", false, false),
        ("10.0.0.1:1", false, false),
        ("0.0.0.0:1", false, false),
        ("[::]:1", false, false),
        ("[2001:db8::1]:1", false, false),
        ("[::ffff:192.0.2.1]:1", false, false),
    ] {
        let verdict = access().admit(HOLD, &token, &peer(address, is_tls, &[]));
        if is_believed {
            assert_eq!(verdict, Ok(Caller::Principal("shop".into())), "{address} {is_tls}");
        } else {
            assert_eq!(cause(verdict), "a token in plain text", "{address} {is_tls}");
        }
    }
    let nowhere = Peer::new(None);
    assert_eq!(cause(access().admit(HOLD, &token, &nowhere)), "a token in plain text");
}

#[test]
fn a_wrong_token_is_nobodys() {
    let local = peer("127.0.0.1:1", false, &[]);
    let admit = |values: &[&str]| access().admit(HOLD, &headers(values), &local);
    for good in [format!("bearer {TOKEN}"), format!("BEARER   {TOKEN} ")] {
        assert_eq!(admit(&[&good]), Ok(Caller::Principal("shop".into())), "{good}");
    }
    let good = format!("Bearer {TOKEN}");
    for (values, expected) in [
        (&[][..], "no credentials"),
        (&[&*format!("Bearer {}", TOKEN.to_uppercase())], "an unknown token"),
        (&[&format!("Bearer {TOKEN}{TOKEN}")], "an unknown token"),
        (&[&format!("Bearer {}", &TOKEN[..31])], "a token that is too short or too long"),
        (&[&format!("Bearer {}", TOKEN.repeat(17))], "a token that is too short or too long"),
        (&["Bearer "], "a token that is too short or too long"),
        (&["Bearer"], "no bearer token in the authorization header"),
        (&[""], "no bearer token in the authorization header"),
        (&[TOKEN], "no bearer token in the authorization header"),
        (&["Basic c2hvcDpzaG9w"], "no bearer token in the authorization header"),
        (&[&format!("Bearer\t{TOKEN}")], "no bearer token in the authorization header"),
        (&[&good, &good], "several authorization headers"),
    ] {
        assert_eq!(cause(admit(values)), expected, "{values:?}");
    }
}

#[test]
fn a_certificate_is_known_by_its_names_alone() {
    let admit = |names: &[&str]| access().admit(ADJUST, &HeaderMap::new(), &peer("192.0.2.1:1", true, names));
    for names in [
        &["ops.example"][..],
        &["spiffe://shop/ops"],
        &["other.example", "ops.example"],
        &["ops.example", "spiffe://shop/ops"],
    ] {
        assert_eq!(admit(names), Ok(Caller::Principal("ops".into())), "{names:?}");
    }
    for names in [&["other.example"][..], &["spiffe://shop/OPS"], &["www.ops.example"], &["*.example"]] {
        assert_eq!(cause(admit(names)), "a certificate with unknown names", "{names:?}");
    }
    let both = admit(&["ops.example", "looker.example"]);
    assert_eq!(cause(both), "a certificate with the names of several principals");
    // A text is no name of the other kind.
    let as_uri = Peer { names: vec![SubjectName::Uri("ops.example".to_owned())], ..peer("192.0.2.1:1", true, &[]) };
    assert_eq!(cause(access().admit(ADJUST, &HeaderMap::new(), &as_uri)), "a certificate with unknown names");
}

#[test]
fn a_token_decides_where_there_is_a_certificate_too() {
    let proxy = peer("192.0.2.1:1", true, &["ops.example"]);
    let shop = headers(&[&format!("Bearer {TOKEN}")]);
    assert_eq!(access().admit(HOLD, &shop, &proxy), Ok(Caller::Principal("shop".into())));
    assert_eq!(access().admit(ADJUST, &shop, &proxy), Err(Denied::PermissionDenied { principal: "shop".into() }));
    let wrong = headers(&[&format!("Bearer {}", "x".repeat(64))]);
    assert_eq!(cause(access().admit(ADJUST, &wrong, &proxy)), "an unknown token");
}

#[test]
fn what_is_open_needs_nobody_and_what_is_unknown_helps_nobody() {
    let (nobody, none) = (peer("192.0.2.1:1", false, &[]), HeaderMap::new());
    let ops = peer("192.0.2.1:1", true, &["ops.example"]);
    assert_eq!(access().admit("/grpc.health.v1.Health/Check", &none, &nobody), Ok(Caller::Connection(7)));
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    assert_eq!(access().admit(reflection, &none, &ops), Ok(Caller::Principal("ops".into())));
    assert_eq!(cause(access().admit(reflection, &none, &nobody)), "no credentials");
    for path in ["/flashsale.v1.AdminService/Secret", "/secret", ""] {
        assert_eq!(access().admit(path, &none, &ops), Err(Denied::PermissionDenied { principal: "ops".into() }));
        assert_eq!(cause(access().admit(path, &none, &nobody)), "no credentials");
        assert_eq!(Access::for_everybody().admit(path, &none, &nobody), Ok(Caller::Connection(7)));
    }
}

#[test]
fn new_principals_count_at_once_and_an_empty_file_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("principals");
    let file = PrincipalsFile::new(path.clone());
    let mut reload = Reload::default();
    std::fs::write(&path, "ops san:dns:ops.example operator").unwrap();
    let current = reload.read([path.clone()], move || Ok(file.read().unwrap())).unwrap();
    let (access, none) = (Access::for_principals(current), HeaderMap::new());
    let ops = peer("192.0.2.1:1", true, &["ops.example"]);
    assert!(access.admit(ADJUST, &none, &ops).is_ok() && !access.is_for_nobody());
    for (text, expected) in [
        ("ops san:dns:ops.example viewer", Denied::PermissionDenied { principal: "ops".into() }),
        ("# nobody", Denied::Unauthenticated { cause: "a certificate with unknown names" }),
    ] {
        std::fs::write(&path, text).unwrap();
        reload.read_anew().unwrap();
        assert_eq!(access.admit(ADJUST, &none, &ops), Err(expected));
    }
    assert!(access.is_for_nobody());
}
