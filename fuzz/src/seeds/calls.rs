//! Seeds of the API: the requests in the tests of `api`, in its recorded schema, and one of each kind with all its fields.

use super::literals;
use super::target::Seeds;
use std::io;
use std::path::Path;

/// A request of each kind.
const REQUESTS: [&str; 10] = [
    r#"{"version":1,"ask":"status"}"#,
    r#"{"version":1,"ask":"apply","file":"p.yaml","text":"kind: NetworkPolicy\n"}"#,
    r#"{"version":1,"ask":"delete","names":["NetworkPolicy/default/a","Service/x"]}"#,
    r#"{"version":1,"ask":"explain","from":"a","to":"x/b","port":80,"protocol":"TCP","family":"IPv6","http":{"method":"GET","path":"/","host":"b","headers":[["x","1"]]}}"#,
    r#"{"version":1,"ask":"explain","from":"a","to":"b","port":0,"port_name":"http","protocol":"UDP"}"#,
    r#"{"version":1,"ask":"observe","last":20,"follow":true,"filters":["verdict=DROPPED"]}"#,
    r#"{"version":1,"ask":"create-workload","namespace":"a","name":"b","labels":{"x":"1"},"addresses":["10.0.0.1","fd00::1"],"named_ports":{"http":"80/TCP"},"owner":1}"#,
    r#"{"version":1,"ask":"remove-workload","namespace":"a","name":"b"}"#,
    r#"{"version":1,"ask":"configure-workload","namespace":"a","name":"b","audit":true}"#,
    r#"{"version":1,"ask":"stop"}"#,
];

/// Lines, alone and one after another.
pub fn api(root: &Path) -> io::Result<Seeds> {
    let mut seeds = Seeds::default();
    let mut lines: Vec<String> = REQUESTS.map(str::to_owned).into();
    for file in ["strict.rs", "lib.rs"] {
        let source = std::fs::read_to_string(root.join("crates/api/src").join(file))?;
        lines.extend(literals::strings(&source).into_iter().filter(|text| text.starts_with(['{', '['])));
        seeds.words.extend(literals::strings(&source).into_iter().filter(|text| text.len() < 20));
    }
    for line in &lines {
        for cut in [0, 30] {
            seeds.inputs.insert([&[cut], line.as_bytes()].concat());
            seeds.inputs.insert([&[cut], line.as_bytes(), b"\n", line.as_bytes(), b"\n"].concat());
        }
    }
    seeds.inputs.insert([&[7], lines.join("\n").as_bytes()].concat());
    let fields =
        REQUESTS.iter().flat_map(|line| line.split('"')).filter(|word| word.len() > 1 && word.len() < 20);
    seeds.words.extend(fields.map(|word| format!("\"{word}\"")));
    Ok(seeds)
}
