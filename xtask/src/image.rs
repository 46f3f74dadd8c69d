//! Writes OCI images without a daemon: an archive that `ctr images import`, `podman load` and `skopeo` read.

mod layer;
mod tar;

use anyhow::{Context, Result};
pub(crate) use layer::Layer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use tar::Archive;

/// An image of one layer.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// The name with its tag, such as `example.org/program:1.0`.
    pub(crate) reference: &'a str,
    pub(crate) entrypoint: &'a [&'a str],
    /// The arguments of the entrypoint where a container names none.
    pub(crate) arguments: &'a [&'a str],
    pub(crate) layer: &'a Layer,
}

/// The name of our image, without a tag, as `deploy/` has it.
const NEXIN: &str = "ghcr.io/nexin-io/nexin";

/// Writes the archive of our image: the static binary of a path, and nothing else.
pub(crate) fn write_own(binary: &Path, archive: &Path) -> Result<()> {
    let mut layer = Layer::default();
    layer.static_program("nexin", binary)?;
    let references = ["latest", env!("CARGO_PKG_VERSION")].map(|tag| format!("{NEXIN}:{tag}"));
    let image = |reference| Image { reference, entrypoint: &["/nexin"], arguments: &[], layer: &layer };
    write(archive, &references.each_ref().map(|reference| image(reference)))?;
    println!("{} has the image {}", archive.display(), references.join(" and "));
    Ok(())
}

/// Writes an archive of images. Equal images have equal bytes: nothing in them depends on time or place.
pub(crate) fn write(path: &Path, images: &[Image<'_>]) -> Result<()> {
    let mut blobs = Vec::new();
    let manifests = images.iter().map(|image| add(image, &mut blobs)).collect::<Result<Vec<Value>>>()?;
    let mut archive = Archive::default();
    archive.file("oci-layout", 0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
    archive.file(
        "index.json",
        0o644,
        json!({"schemaVersion": 2, "manifests": manifests}).to_string().as_bytes(),
    )?;
    blobs.sort_by(|one: &Blob, other| one.digest.cmp(&other.digest));
    blobs.dedup_by(|one, other| one.digest == other.digest);
    for blob in &blobs {
        archive.file(&format!("blobs/sha256/{}", blob.digest), 0o644, &blob.bytes)?;
    }
    std::fs::write(path, archive.finish()).with_context(|| format!("could not write {}", path.display()))
}

/// Adds the blobs of an image, and returns its entry of the index.
fn add(image: &Image<'_>, blobs: &mut Vec<Blob>) -> Result<Value> {
    let layer = Blob::new(image.layer.tar()?);
    let config = Blob::new(
        json!({
            "architecture": architecture(),
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
            "config": {"Entrypoint": image.entrypoint, "Cmd": image.arguments, "Env": ["PATH=/bin:/usr/bin:/"]},
        })
        .to_string()
        .into_bytes(),
    );
    let manifest = Blob::new(
        json!({
            "schemaVersion": 2,
            "mediaType": media_type("manifest.v1+json"),
            "config": config.descriptor("config.v1+json"),
            "layers": [layer.descriptor("layer.v1.tar")],
        })
        .to_string()
        .into_bytes(),
    );
    let mut entry = manifest.descriptor("manifest.v1+json");
    entry["annotations"] = json!({
        "io.containerd.image.name": image.reference,
        "org.opencontainers.image.ref.name": image.reference,
    });
    blobs.extend([layer, config, manifest]);
    Ok(entry)
}

/// Bytes of an archive that are named by their digest.
#[derive(Debug)]
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { digest, bytes }
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({"mediaType": media_type(kind), "digest": format!("sha256:{}", self.digest), "size": self.bytes.len()})
    }
}

fn media_type(kind: &str) -> String {
    format!("application/vnd.oci.image.{kind}")
}

/// The architecture of this machine by Go's name.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(images: &[Image<'_>], name: &str) -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("nexin-image-{name}-{}.tar", std::process::id()));
        write(&path, images).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    }

    fn count(bytes: &[u8], text: &str) -> usize {
        bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    }

    #[test]
    fn images_of_one_layer_hold_it_once() {
        let mut layer = Layer::default();
        layer.text("etc/greeting", "a greeting of its own");
        let image = |reference, entrypoint| Image { reference, entrypoint, arguments: &[], layer: &layer };
        let images = [image("localhost/a:1", &["/a"]), image("localhost/b:1", &["/b", "c"])];
        let bytes = written(&images, "once");
        assert_eq!(count(&bytes, "a greeting of its own"), 1);
        assert_eq!(count(&bytes, r#""io.containerd.image.name":"localhost/b:1""#), 1);
        assert_eq!(count(&bytes, r#""Entrypoint":["/b","c"]"#), 1);
    }

    #[test]
    fn an_image_is_the_same_at_another_time() {
        let mut layer = Layer::default();
        layer.text("etc/a", "a");
        let images =
            [Image { reference: "localhost/a:1", entrypoint: &["/a"], arguments: &[], layer: &layer }];
        assert_eq!(written(&images, "first"), written(&images, "second"));
    }
}
