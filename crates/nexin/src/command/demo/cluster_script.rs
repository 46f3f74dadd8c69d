//! The demo's script on a cluster.

use super::script::{
    OPEN, OPEN_TITLE, POLICY, POLICY_TITLE, Scene, ScriptAction, UNDER_POLICY, UNDER_POLICY_TITLE,
};

/// The words of a `kubectl` command in the demo's namespace.
macro_rules! kubectl {
    ($($word:literal),+) => { &["kubectl", "-n", "nexin-demo", $($word),+] };
}

/// The namespace of the demo, which the script names.
pub(super) const NAMESPACE: &str = "nexin-demo";
/// The file of the application.
const APPLICATION: &str = "application.yaml";
/// The placeholder of the image in [`APPLICATION`].
const IMAGE: &str = "IMAGE";

/// The files that the commands use, with the image of the containers.
pub(super) fn files(image: &str) -> [(&'static str, String); 2] {
    let application = include_str!("application.yaml").replace(IMAGE, image);
    [(APPLICATION, application), (POLICY.0, POLICY.1.to_owned())]
}

/// The tutorial on a cluster.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        title: "The application: app1 twice behind a service, and its clients app2 and app3",
        actions: &[
            ScriptAction::Command(kubectl!("apply", "-f", "application.yaml")),
            ScriptAction::Command(kubectl!(
                "wait",
                "--for=condition=Available",
                "deployments",
                "--all",
                "--timeout=120s"
            )),
            ScriptAction::Command(kubectl!("get", "services,pods", "-o", "wide")),
        ],
    },
    Scene { title: OPEN_TITLE, actions: OPEN },
    Scene { title: POLICY_TITLE, actions: &[ScriptAction::Command(kubectl!("apply", "-f", "rule1.yaml"))] },
    Scene { title: UNDER_POLICY_TITLE, actions: UNDER_POLICY },
    Scene {
        title: "The policy as the API server has it",
        actions: &[ScriptAction::Command(kubectl!("get", "ciliumnetworkpolicies"))],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_use_files_that_are_written_and_the_demo_s_namespace() {
        let files = files("example/nexin:1");
        let mut used = 0;
        for action in SCENES.iter().flat_map(|scene| scene.actions) {
            let ScriptAction::Command(words) = action else { continue };
            assert_eq!(words[..3], ["kubectl", "-n", NAMESPACE]);
            let file = words.iter().skip_while(|word| **word != "-f").nth(1);
            let Some(file) = file else { continue };
            assert!(files.iter().any(|(name, _)| name == file), "{file}");
            used += 1;
        }
        assert_eq!(used, files.len());
        assert_eq!(files[0].1.matches("image: example/nexin:1").count(), 3);
    }
}
