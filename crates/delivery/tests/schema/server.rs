//! The same objects, submitted to an API server that has our definitions, without being stored.

use crate::Verdicts;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

/// The command line of kubectl with its options, separated by blanks.
const KUBECTL: &str = "NEXIN_KUBECTL";

/// Submits the objects. Those that the parser accepts must be admitted, and those that break a schema refused.
pub(super) fn check(objects: &[(Value, Verdicts)]) {
    let named = objects.iter().enumerate().map(|(index, (object, _))| {
        let mut object = object.clone();
        object["metadata"] = json!({"name": name(index)});
        // kubectl checks a List on its own, and refuses it whole; documents are checked by the server, one by one.
        format!("---\n{object}\n")
    });
    let (admitted, errors) = submit(named.collect());
    let (mut wrong, mut by_server) = (Vec::new(), 0);
    for (index, (object, verdicts)) in objects.iter().enumerate() {
        let is_admitted = admitted.contains(&name(index));
        match verdicts {
            Verdicts::Accepted if !is_admitted => wrong.push(format!("refused: {object}")),
            Verdicts::RefusedByBoth if is_admitted => wrong.push(format!("admitted: {object}")),
            Verdicts::LeftToAgent if !is_admitted => by_server += 1,
            _ => {}
        }
    }
    println!("{} objects, {} admitted, {by_server} refused by CEL alone", objects.len(), admitted.len());
    assert!(wrong.is_empty(), "{}\n{errors}", wrong.join("\n"));
}

fn name(index: usize) -> String {
    format!("p{index}")
}

/// The names that the server admits, and its errors for the others.
fn submit(documents: String) -> (BTreeSet<String>, String) {
    let command = std::env::var(KUBECTL).expect("NEXIN_KUBECTL is the command line of kubectl");
    let mut words = command.split(' ');
    let mut kubectl = Command::new(words.next().unwrap());
    kubectl.args(words).args(["create", "--dry-run=server", "--output=name", "--filename=-"]);
    let mut child =
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(documents.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split_once('/')).map(|(_, name)| name.to_owned());
    (names.collect(), String::from_utf8(output.stderr).unwrap())
}
