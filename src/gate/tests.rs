//! Who may do what, by every kind of credentials.

use std::net::{IpAddr, Ipv4Addr};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::settings::{Jwt, KeyPlace};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "another-secret-another-secret-0123";
const HERE: Origin = Origin::Remote(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn id(text: &str) -> SessionId {
    SessionId::new(text).expect("an id")
}

fn now() -> u64 {
    Clock::start().now().0 / 1000
}

/// A relay that takes tokens and signed sessions of one secret.
fn gate() -> Gate {
    let place = KeyPlace::File("none".into());
    let jwt = Jwt { keys: place.clone(), audience: "x0-relay".to_owned(), issuer: Some("me".to_owned()) };
    let auth = Auth { jwt: Some(jwt), signed: Some(place) };
    Gate::new(0, &auth, keys(&auth, SECRET), Clock::start())
}

fn keys(auth: &Auth, secret: &str) -> Keys {
    let mut keys = Keys::default();
    keys.read_tokens(secret, auth.jwt.as_ref().expect("jwt")).expect("a key");
    keys.read_sessions(secret).expect("a key");
    keys
}

/// A token of these claims, and those that each has.
fn token(secret: &str, algorithm: Algorithm, claims: &Value) -> String {
    let mut all = json!({"sub":"ann","aud":"x0-relay","iss":"me","exp":now() + 600,"receive":["ann-*"],"send":["*"]});
    for (name, value) in claims.as_object().expect("claims") {
        all[name] = value.clone();
    }
    super::crypto::install();
    encode(&Header::new(algorithm), &all, &EncodingKey::from_secret(secret.as_bytes()).expect("a key"))
        .expect("a token")
}

fn good(claims: &Value) -> String {
    token(SECRET, Algorithm::HS256, claims)
}

fn identify(gate: &Gate, credentials: &str) -> Result<Who, Error> {
    gate.identify(HERE, Some(format!("Bearer {credentials}").as_bytes()))
}

fn who(gate: &Gate, claims: &Value) -> Who {
    identify(gate, &good(claims)).expect("good")
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> Kind {
    result.expect_err("refused").kind
}

#[test]
fn only_root_and_the_own_user_operate() {
    let gate = Gate::open(33);
    let operate = |origin| gate.operate(&Who::nobody(origin));
    assert!(operate(Origin::Local { uid: 0 }).is_ok());
    assert!(operate(Origin::Local { uid: 33 }).is_ok());
    for stranger in [Origin::Local { uid: 1000 }, HERE] {
        assert_eq!(kind(operate(stranger)), Kind::Forbidden);
    }
}

#[test]
fn an_open_relay_asks_nobody() {
    let gate = Gate::open(0);
    let nobody = gate.identify(HERE, Some(b"Bearer rubbish")).expect("open");
    assert!(gate.is_open() && gate.receive(&nobody, id("x")).is_ok());
    assert_eq!(gate.send(&nobody, "anyone", vec![id("x")]).expect("open").intent().to, [id("x")]);
    assert_eq!(kind(gate.send(&nobody, "", vec![id("x").elsewhere("acme")])), Kind::Forbidden);
}

#[test]
fn nobody_does_nothing_where_somebody_is_asked_for() {
    let gate = gate();
    for said in [None, Some(&b"Basic YTpi"[..]), Some(b"Bearer"), Some(b"")] {
        let nobody = gate.identify(HERE, said).expect("no credentials of ours");
        assert_eq!(kind(gate.receive(&nobody, id("ann-1"))), Kind::Unauthorized);
        assert_eq!(kind(gate.send(&nobody, "", vec![id("x")])), Kind::Unauthorized);
        assert_eq!(kind(gate.ticket(&nobody, id("ann-1"))), Kind::Unauthorized);
    }
    // What a process of this machine is, is no identity for mail.
    let root = Who::nobody(Origin::Local { uid: 0 });
    assert_eq!(kind(gate.receive(&root, id("ann-1"))), Kind::Unauthorized);
    assert!(gate.operate(&root).is_ok());
}

#[test]
fn claims_say_what_is_allowed() {
    let gate = gate();
    let ann = who(&gate, &json!({}));
    assert!(gate.receive(&ann, id("ann-1")).is_ok());
    assert_eq!(kind(gate.receive(&ann, id("bob-1"))), Kind::Forbidden);
    assert!(gate.send(&ann, "ann-1", vec![id("bob-1")]).is_ok() && gate.send(&ann, "", vec![id("bob-1")]).is_ok());
    assert_eq!(kind(gate.send(&ann, "bob-1", vec![id("ann-1")])), Kind::Forbidden, "as somebody else");
    let few = who(&gate, &json!({"send":"bob","receive":[],"from":"*"}));
    assert!(gate.send(&few, "anyone", vec![id("bob")]).is_ok());
    let refused = gate.send(&few, "", vec![id("bob"), id("eve")]).expect_err("one of them");
    assert_eq!((refused.kind, refused.about), (Kind::Forbidden, vec!["eve".into()]));
    assert_eq!(kind(gate.receive(&few, id("bob"))), Kind::Forbidden);
}

#[test]
fn tokens_that_are_no_good() {
    let gate = gate();
    let from = |claims: Value| kind(identify(&gate, &good(&claims)));
    assert_eq!(from(json!({"exp": now() - 60})), Kind::Expired);
    for claims in [
        json!({"aud":"another"}),
        json!({"iss":"another"}),
        json!({"nbf": now() + 60}),
        json!({"sub":""}),
        json!({"sub":7}),
        json!({"exp":"soon"}),
        json!({"exp":null}),
        json!({"aud":null}),
        json!({"iss":null}),
        json!({"receive":[""]}),
        json!({"receive":{"a":1}}),
        json!({"org":"a/b"}),
        json!({"org":""}),
        json!({"jti":""}),
        json!({"sub":"x".repeat(300)}),
    ] {
        assert_eq!(from(claims.clone()), Kind::InvalidToken, "{claims}");
    }
    let token = good(&json!({}));
    assert_eq!(kind(identify(&gate, &self::token(OTHER, Algorithm::HS256, &json!({})))), Kind::InvalidToken, "forged");
    for end in 1..token.len() {
        assert_eq!(kind(identify(&gate, &token[..end])), Kind::InvalidToken, "cut at {end}");
    }
    let long = format!("{token}{}", "A".repeat(TOKEN_BYTES_MAX));
    assert_eq!(kind(identify(&gate, &long)), Kind::InvalidToken);
    for refused in [identify(&gate, &long), identify(&gate, "secret.token.text")] {
        assert!(!refused.expect_err("no").detail.contains("secret"));
    }
}

#[test]
fn times_may_be_off_by_a_little() {
    let gate = gate();
    assert!(identify(&gate, &good(&json!({"exp": now() - 3}))).is_ok());
    assert!(identify(&gate, &good(&json!({"nbf": now() + 3}))).is_ok());
    assert!(identify(&gate, &good(&json!({"exp": now() as f64 + 600.5}))).is_ok());
}

#[test]
fn a_token_does_not_choose_how_it_is_checked() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let gate = gate();
    let parts: Vec<String> = good(&json!({})).split('.').map(str::to_owned).collect();
    for header in [
        json!({"alg":"none"}),
        json!({"alg":"None","typ":"JWT"}),
        json!({"alg":"HS384"}),
        json!({"alg":"RS256"}),
        json!({"alg":"EdDSA"}),
        json!({"alg":"HS256","crit":["x"],"x":1}),
        json!({"typ":"JWT"}),
    ] {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        for signature in [&parts[2], ""] {
            let token = format!("{header}.{}.{signature}", parts[1]);
            assert_eq!(kind(identify(&gate, &token)), Kind::InvalidToken, "{token}");
        }
    }
    // Key confusion: a public key used as a secret.
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let place = KeyPlace::File("none".into());
    let jwt = Jwt { keys: place, audience: "x0-relay".to_owned(), issuer: None };
    let mut keys = Keys::default();
    keys.read_tokens(jwk, &jwt).expect("a key");
    let gate = Gate::new(0, &Auth { jwt: Some(jwt), signed: None }, keys, Clock::start());
    let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64");
    super::crypto::install();
    let claims = json!({"sub":"ann","aud":"x0-relay","exp":now() + 600});
    for secret in [&public[..], jwk.as_bytes()] {
        let key = EncodingKey::from_secret(secret).expect("a key");
        let token = encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token");
        assert_eq!(kind(identify(&gate, &token)), Kind::InvalidToken);
    }
}

#[test]
fn a_signed_session_is_itself_and_no_other() {
    let gate = gate();
    let signed = |id: &str, expiry| signed::sign(SECRET.as_bytes(), &self::id(id), expiry).expect("short");
    let nobody = || Who::nobody(HERE);
    let (who, session) = gate.claim(nobody(), id(&signed("tab.1", now() + 60))).expect("good");
    assert_eq!(session, id("tab.1"));
    assert!(gate.receive(&who, id("tab.1")).is_ok());
    assert_eq!(kind(gate.receive(&who, id("tab.2"))), Kind::Forbidden);
    assert!(gate.send(&who, "tab.1", vec![id("anyone")]).is_ok());
    assert_eq!(kind(gate.send(&who, "tab.2", vec![id("anyone")])), Kind::Forbidden);
    assert_eq!(identify(&gate, &signed("tab.1", now() + 60)).expect("as a bearer too").principal(), who.principal());
    assert_eq!(kind(gate.claim(nobody(), id(&signed("tab.1", now() - 1)))), Kind::Expired);
    let forged = signed::sign(OTHER.as_bytes(), &id("tab.1"), now() + 60).expect("short");
    assert_eq!(kind(gate.claim(nobody(), id(&forged))), Kind::InvalidToken);
    // The bare id is a name, and proves nothing.
    let (who, session) = gate.claim(nobody(), id("tab.1")).expect("a name");
    assert_eq!(kind(gate.receive(&who, session)), Kind::Unauthorized);
    // A credential is no name.
    let ann = self::who(&gate, &json!({"receive":"*"}));
    assert_eq!(kind(gate.receive(&ann, id(&forged))), Kind::InvalidSession);
}

#[test]
fn one_organisation_s_sessions_are_not_another_s() {
    let gate = gate();
    let claims = |org: &str| json!({"org":org,"receive":"*","send":"*"});
    let (acme, other, none) =
        (who(&gate, &claims("acme")), who(&gate, &claims("other")), who(&gate, &json!({"receive":"*"})));
    let of = |who| gate.receive(who, id("t")).expect("allowed").into_intent().of;
    assert!(of(&acme) != of(&other) && of(&acme) != of(&none) && of(&none) == id("t"));
    let to = |who: &Who, to: SessionId| gate.send(who, "t", vec![to]).map(|admission| admission.into_intent());
    assert_eq!(to(&acme, id("t")).expect("own").to, [of(&acme)]);
    for there in ["other", ""] {
        assert_eq!(kind(to(&acme, id("t").elsewhere(there))), Kind::Forbidden, "{there:?}");
    }
    let bridge = who(&gate, &json!({"org":"acme","receive":"*","send":["*","org:other/t","org:/t"]}));
    let sent = to(&bridge, id("t").elsewhere("other")).expect("by its policy");
    assert_eq!((sent.to, &*sent.from), (vec![of(&other)], "org:acme/t"));
    assert_eq!(to(&bridge, id("t").elsewhere("")).expect("by its policy").to, [id("t")]);
    assert_eq!(kind(to(&bridge, id("u").elsewhere("other"))), Kind::Forbidden);
    assert_eq!(&*to(&bridge, id("t")).expect("own").from, "t");
    let twice = gate.send(&acme, "", vec![id("t"), id("t").elsewhere("acme")]).expect("own");
    assert_eq!(twice.intent().to.len(), 1, "one mailbox by two names");
}

#[test]
fn a_ticket_stands_for_who_asked_for_it() {
    let gate = gate();
    let ann = who(&gate, &json!({}));
    assert_eq!(kind(gate.ticket(&ann, id("bob-1"))), Kind::Forbidden);
    let ticket = gate.ticket(&ann, id("ann-1")).expect("own");
    let (who, session) = gate.redeem(Origin::Local { uid: 5 }, &ticket).expect("good");
    assert_eq!((who.principal(), who.origin, session), (ann.principal(), Origin::Local { uid: 5 }, id("ann-1")));
    assert_eq!(kind(gate.redeem(HERE, &ticket)), Kind::TicketSpent);
}

#[tokio::test]
async fn what_is_revoked_counts_no_more() {
    let gate = gate();
    let operator = gate.operate(&Who::nobody(Origin::Local { uid: 0 })).expect("root");
    let hour = Duration::from_secs(3600);
    let old = who(&gate, &json!({"jti":"1","iat":now() - 60}));
    let twin = who(&gate, &json!({"jti":"2","iat":now() - 60}));
    let ticket = gate.ticket(&old, id("ann-1")).expect("own");
    gate.revoke(&operator, &Revoked::Token("1".into()), hour).await.expect("room");
    assert_eq!(kind(gate.receive(&old, id("ann-1"))), Kind::Revoked);
    assert_eq!(kind(identify(&gate, &good(&json!({"jti":"1"})))), Kind::Revoked);
    assert_eq!(kind(gate.redeem(HERE, &ticket)), Kind::Revoked, "and it is spent");
    assert_eq!(kind(gate.redeem(HERE, &ticket)), Kind::TicketSpent);
    assert!(gate.receive(&twin, id("ann-1")).is_ok());
    gate.revoke(&operator, &Revoked::Subject(Some("acme".into()), "ann".into()), hour).await.expect("room");
    assert!(gate.receive(&twin, id("ann-1")).is_ok(), "another organisation's ann");
    gate.revoke(&operator, &Revoked::Subject(None, "ann".into()), hour).await.expect("room");
    assert_eq!(kind(gate.receive(&twin, id("ann-1"))), Kind::Revoked);
    assert_eq!(kind(identify(&gate, &good(&json!({})))), Kind::Revoked, "nobody knows when it was made");
    assert!(identify(&gate, &good(&json!({"iat": now() + 5}))).is_ok(), "made afterwards");
    let signed = signed::sign(SECRET.as_bytes(), &id("s"), now() + 60).expect("short");
    gate.revoke(&operator, &Revoked::Session("s".into()), hour).await.expect("room");
    assert_eq!(kind(gate.claim(Who::nobody(HERE), id(&signed))), Kind::Revoked);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_announced_and_comes() {
    let gate = gate();
    let ann = who(&gate, &json!({"exp": now() + 100}));
    let mut watch = gate.watch(&ann);
    let Change::Expiring(left) = watch.next().await else { panic!("not announced") };
    assert!(left <= NOTICE && left > NOTICE - Duration::from_secs(2), "{left:?}");
    assert_eq!(watch.ended().await.kind, Kind::Expired);
    let renewed = gate.renew(&ann, &good(&json!({}))).expect("the same ann");
    assert!(gate.receive(&renewed, id("ann-1")).is_ok());
    assert_eq!(kind(gate.renew(&ann, &good(&json!({"sub":"bob"})))), Kind::Forbidden);
    assert_eq!(kind(gate.renew(&ann, &good(&json!({"org":"acme"})))), Kind::Forbidden);
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_hear_of_a_revocation_and_of_other_keys() {
    let gate = gate();
    let operator = gate.operate(&Who::nobody(Origin::Local { uid: 0 })).expect("root");
    let (ann, bob) = (who(&gate, &json!({})), who(&gate, &json!({"sub":"bob"})));
    let (mut of_ann, mut of_bob) = (gate.watch(&ann), gate.watch(&bob));
    gate.revoke(&operator, &Revoked::Subject(None, "ann".into()), Duration::from_secs(9)).await.expect("room");
    assert_eq!(of_ann.ended().await.kind, Kind::Revoked);
    let still = tokio::time::timeout(Duration::from_secs(5), of_bob.next()).await;
    assert!(still.is_err(), "bob is nobody's business: {still:?}");
    let place = KeyPlace::File("none".into());
    let jwt = Jwt { keys: place.clone(), audience: "x0-relay".to_owned(), issuer: Some("me".to_owned()) };
    let auth = Auth { jwt: Some(jwt), signed: Some(place) };
    gate.exchange(keys(&auth, &format!("{SECRET}\n{OTHER}")));
    assert!(gate.receive(&bob, id("ann-1")).is_ok(), "its key is still there");
    assert!(identify(&gate, &token(OTHER, Algorithm::HS256, &json!({}))).is_err(), "revoked, by the new key too");
    gate.exchange(keys(&auth, OTHER));
    assert_eq!(of_bob.ended().await.kind, Kind::Revoked);
    assert_eq!(kind(gate.receive(&bob, id("ann-1"))), Kind::Revoked);
    assert_eq!(kind(identify(&gate, &good(&json!({"sub":"bob"})))), Kind::InvalidToken);
}
