//! What has the simple form, and that both parsers of YAML return the same trees for it.

use super::*;
use crate::yaml::parsers_agree;

#[test]
fn texts_of_the_simple_form_are_parsed_here_as_the_other_parser_does() {
    for text in [
        "",
        "# only a comment\n",
        "a: 1",
        "---\na: 1\n",
        "# one\n---\n# two\na: 1\n# three\n---\nb: 2\n",
        "---\n---\na: 1\n---\n",
        "a:\n  b:\n    c: d e  # comment\n\n  f: 'g'\nh: \"i # j\"\n",
        "a:\n- b\n- c: 1\n  d: 2\n-   e: 3\n    f: 4\ng: 5\n",
        "a:\n  - - b\n    - c\n  - {d: e, f: [g, \"h\", {}, []]}\n",
        "- a\n- [b]\n- 'c'\n",
        "k8s:io.kubernetes/name_x: http://a:b/c#d\n",
        "a: -1\nb: ~\nc: null\nd: 0x10\ne: .5\nf: -1.5\n",
        "{\"a\":1,\"b\":{\"c\":[true,null]}}\n",
        "{\n  \"a\": [\n    1,\n    \"b\"\n  ],\n  \"c\": {}\n}\n",
        "[a, b]\n---\n[\n]\n",
        "a: {b: c:d, e: f g}\n",
        "a:   # comment\n  b: c\n",
    ] {
        assert!(documents(text).is_some(), "{text}");
        assert!(parsers_agree(text), "{text}");
    }
}

#[test]
fn every_other_text_is_left_to_the_other_parser() {
    for text in [
        "a: é\n",
        "a:\tb\n",
        "a: 1\r\n",
        "a: &b 1\n",
        "a: *b\n",
        "a: !!str 1\n",
        "a: |\n  b\n",
        "a: \"\\n\"\n",
        "a: 'b''c'\n",
        "a: b\n  c\n",
        "a:\n",
        "a:\nb: 1\n",
        "- \n- a\n",
        "-\n  a: 1\n",
        "a: 1\na: 2\n",
        "{a: 1, a: 2}\n",
        "<<: {a: 1}\n",
        "\"<<\": {a: 1}\n",
        "a: b: c\n",
        "a: 1\n b: 2\n",
        "a:\n    b: 1\n  c: 2\n",
        " a: 1\nb: 2\n",
        "a: [1, 2\n",
        "a: [1,\n    2]\n",
        "a: [1, 2,]\n",
        "a: [b: c]\n",
        "a: {b}\n",
        "a: {b: c}d\n",
        "a: \"b\"#c\n",
        "a: \"b\" c\n",
        "{a: b\n c}\n",
        "{a: b # c\n}\n",
        "[a -]\n",
        "%YAML 1.2\n---\na: 1\n",
        "a: 1\n...\n",
        "--- a\n",
        "---a: 1\n",
        "a\n",
        "? a\n: b\n",
        "a: @b\n",
        "a: - b\n",
    ] {
        assert_eq!(documents(text), None, "{text}");
    }
    let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    assert_eq!(documents(&deep), None);
    let many = format!("[{}a]", "a,".repeat(MAX_WEIGHT));
    assert_eq!(documents(&many), None);
}

#[test]
fn usual_manifests_have_the_simple_form() {
    for text in [
        include_str!("../../tests/tutorial/demo.yaml"),
        include_str!("../../tests/tutorial/rule1-v1.yaml"),
        include_str!("../../tests/tutorial/rule1-v2.yaml"),
    ] {
        assert!(documents(text).is_some());
    }
}
