//! Flaws of HTTP rules: without effect, shadowed, or matching no request.

use super::*;

#[test]
fn allowing_the_connection_makes_http_rules_ineffective() {
    let limited = || allow(peers(app("db")), get(80, &["/public"]));
    assert_eq!(pair(allow(Peers::Any, tcp(80)), limited()), ["b http-without-effect"]);
    assert_eq!(pair(limited(), allow(entity(Entity::All), Traffic::Any)), ["a http-without-effect"]);
    assert_eq!(pair(allow(Peers::Any, tcp(81)), limited()), [""; 0]);
    assert_eq!(pair(allow(peers(app("api")), tcp(80)), limited()), [""; 0]);
    let mut itself = limited();
    let Traffic::Of(matches) = &mut itself.traffic else { unreachable!("it has ports") };
    matches.extend(match tcp(80) {
        Traffic::Of(matches) => matches,
        Traffic::Any => unreachable!("it has ports"),
    });
    assert_eq!(codes(&[policy("a", itself)]), ["a http-without-effect"]);
}

/// The findings on two policies as text; the second policy has HTTP rules.
fn messages(open: Rule, limited: Rule) -> Vec<String> {
    let lints = lint(&[policy("a", open), policy("b", limited)]);
    lints.iter().map(|lint| lint.flaw.to_string()).collect()
}

#[test]
fn http_rules_may_be_ineffective_for_some_ports_and_peers_only() {
    let check = |open: Rule, limited: Rule, extent: &str| {
        let said = format!(
            "HTTP rules have no effect for {extent}: CiliumNetworkPolicy/a spec.ingress[0] allows every request"
        );
        assert_eq!(messages(open, limited), [said]);
    };
    let two_ports = || match (get(80, &["/public"]), get(8080, &["/public"])) {
        (Traffic::Of(one), Traffic::Of(other)) => Traffic::Of([one, other].concat()),
        _ => unreachable!("both have ports"),
    };
    let both = || Peers::Of(["b", "d"].map(|name| Peer::Labels(app(name))).to_vec());
    check(allow(peers(app("b")), tcp(80)), allow(peers(app("b")), two_ports()), "80/TCP from app=b");
    check(allow(peers(app("b")), tcp(80)), allow(both(), get(80, &["/a"])), "80/TCP from app=b");
    check(
        allow(both(), ports(Protocol::Any, 0, 65535)),
        allow(both(), two_ports()),
        "80/TCP and 8080/TCP from app=b or app=d",
    );
    // The affected part may be narrower than the rule in ports and in peers.
    let range = || {
        let http = Some([HttpRule::default()].into());
        Traffic::Of(vec![TrafficMatch::Port { protocol: Protocol::Tcp, port: Port::Range(80, 90), http }])
    };
    check(allow(peers(app("b")), tcp(85)), allow(Peers::Any, range()), "85/TCP from app=b");
    check(allow(Peers::Any, Traffic::Any), allow(Peers::Any, range()), "80-90/TCP from any peer");
    check(allow(peers(app("b")), tcp(85)), allow(peers(Selector::default()), range()), "85/TCP from app=b");
}

#[test]
fn http_rules_are_not_reported_where_the_overlap_is_uncertain() {
    let check = |open: Rule, limited: Rule| {
        let said = messages(open, limited);
        assert!(!said.iter().any(|said| said.contains("HTTP")), "{said:?}");
    };
    let limited = || allow(peers(app("b")), get(80, &["/public"]));
    // A peer with both labels may exist or not.
    check(allow(peers(Selector::default().with(None, "env", Operator::equals("x"))), tcp(80)), limited());
    check(allow(peers(app("b")), ports(Protocol::Udp, 80, 80)), limited());
    check(Rule { priority: 1, ..allow(peers(app("b")), tcp(80)) }, limited());
    let nobody = app("b").with(None, "app", Operator::equals("c"));
    let void =
        lint(&[policy("a", allow(peers(nobody), tcp(80))), policy("b", allow(Peers::Any, get(80, &["/"])))]);
    assert!(void.iter().all(|lint| lint.flaw.code() == "matches-nothing"), "{void:?}");
}

#[test]
fn http_rules_cover_a_subset_of_them() {
    let limited = |paths: &[&str]| allow(peers(app("db")), get(80, paths));
    assert_eq!(pair(limited(&["/a", "/b"]), limited(&["/b"])), ["b shadowed"]);
    assert_eq!(pair(limited(&["/a"]), limited(&["/a", "/b"])), ["a shadowed"]);
    assert_eq!(pair(limited(&["/a"]), limited(&["/b"])), [""; 0]);
}

#[test]
fn a_wider_http_rule_shadows_a_narrower_one() {
    let limited = |peers: Peers, method: Option<&str>, path: Option<&str>| {
        let [method, path] = [method, path].map(|part| part.map(str::to_owned));
        let http = Some([HttpRule { method, path, ..HttpRule::default() }].into());
        allow(
            peers,
            Traffic::Of(vec![TrafficMatch::Port {
                protocol: Protocol::Tcp,
                port: Port::Range(80, 80),
                http,
            }]),
        )
    };
    let narrow = || limited(peers(app("db")), Some("GET"), Some("/a"));
    let check = |wide: Rule, shadowed: bool| {
        let expected: &[&str] = if shadowed { &["b shadowed"] } else { &[] };
        assert_eq!(pair(wide.clone(), narrow()), expected, "{wide:?}");
    };
    check(limited(Peers::Any, Some("GET"), None), true);
    check(limited(Peers::Any, Some("GET|HEAD"), Some("/[a-z]")), true);
    check(limited(Peers::Any, None, None), true);
    check(limited(Peers::Any, None, Some("/b")), false);
    check(limited(peers(app("api")), Some("GET"), None), false);
}

#[test]
fn an_http_rule_that_no_request_can_match_is_reported() {
    let check = |method: &str, path: &str, hollow: bool| {
        let [method, path] = [method, path].map(|part| Some(part.to_owned()));
        let http = Some([HttpRule { method, path, ..HttpRule::default() }].into());
        let one = TrafficMatch::Port { protocol: Protocol::Tcp, port: Port::Range(80, 80), http };
        let found = codes(&[policy("a", allow(Peers::Any, Traffic::Of(vec![one])))]);
        let expected: &[&str] = if hollow { &["a matches-nothing"] } else { &[] };
        assert_eq!(found, expected);
    };
    check("GET", "/public", false);
    check("GET", "public", true);
    check("GET", "/a b", true);
    check("GET", "/a#x", true);
    check("GET", "/a/[.][.]/b", true);
    check("GET ", "/", true);
    check("get", "/", true);
}

#[test]
fn the_index_misses_no_ineffective_http_rule() {
    let mut found = 0;
    for seed in 0..200 {
        let world = generate::world(seed);
        let entries = world.policies.iter().flat_map(|policy| {
            policy.specs.iter().flat_map(move |spec| {
                let subject = Rc::new(Constraints::of(spec.subject.selector()));
                spec.rules.iter().map(move |rule| RuleView::new(&policy.id, spec, rule, subject.clone()))
            })
        });
        let entries: Vec<RuleView<'_>> = entries.collect();
        let allows = ConnectionAllows::of(&entries);
        for entry in &entries {
            let all = entries.iter().filter_map(|other| http_without_effect::flaw(other, entry)).take(8);
            let all: Vec<Flaw> = all.collect();
            assert_eq!(allows.flaws(entry, &entries, |_| true), all, "seed {seed}");
            found += all.len();
        }
    }
    assert!(found > 100, "only {found}");
}
