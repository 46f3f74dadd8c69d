//! Looks up a path as the kernel does, one name at a time, so that every directory on the way can be watched.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The most links of a lookup, as in the kernel.
const LINKS: usize = 40;

/// Looks up a path from a directory; returns the path without links, and none if a name is missing. `watch` is called before
/// each name is looked up, and returns whether its directory is there: so a name that changes later is reported.
pub(super) fn look_up<E>(
    from: &Path,
    path: &OsStr,
    mut watch: impl FnMut(&Path, &OsStr) -> Result<bool, E>,
) -> Result<Option<PathBuf>, E> {
    let mut rest: VecDeque<OsString> = VecDeque::new();
    let mut at = from.to_path_buf();
    put_before(&mut rest, &mut at, Path::new(path));
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        if !watch(&at, &name)? {
            return Ok(None);
        }
        let next = at.join(&name);
        let Ok(status) = fs::symlink_metadata(&next) else { return Ok(None) };
        if !status.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        let Some(target) = fs::read_link(&next).ok().filter(|_| links <= LINKS) else { return Ok(None) };
        put_before(&mut rest, &mut at, &target);
    }
    Ok(Some(at))
}

/// Puts the names of a path before those that remain. An absolute path begins at the root.
fn put_before(rest: &mut VecDeque<OsString>, at: &mut PathBuf, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front("..".into()),
            Component::RootDir | Component::Prefix(_) => *at = PathBuf::from("/"),
            Component::CurDir => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The directories that are watched, each with the name, and where the path leads to; below the scratch directory.
    fn looked_up(scratch: &Path, path: &str) -> (Vec<String>, Option<String>) {
        let mut watched = Vec::new();
        let mut watch = |directory: &Path, name: &OsStr| {
            let below = directory.join(name);
            watched.extend(below.strip_prefix(scratch).ok().map(|below| below.display().to_string()));
            Ok::<_, ()>(true)
        };
        let found = look_up(scratch, OsStr::new(path), &mut watch).unwrap();
        (watched, found.map(|found| found.strip_prefix(scratch).unwrap().display().to_string()))
    }

    #[test]
    fn every_name_on_the_way_is_watched_before_it_is_looked_up() {
        let scratch = std::env::temp_dir().join(format!("nexin-lookup-{}", std::process::id()));
        let scratch = scratch.canonicalize().unwrap_or(scratch);
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(scratch.join("v1")).unwrap();
        fs::write(scratch.join("v1/p"), "").unwrap();
        symlink("v1", scratch.join("..data")).unwrap();
        symlink("..data/p", scratch.join("p")).unwrap();
        symlink(scratch.join("v1/../gone/q"), scratch.join("q")).unwrap();
        symlink("r", scratch.join("r")).unwrap();
        for (path, watched, found) in [
            ("v1/p", &["v1", "v1/p"] as &[_], Some("v1/p")),
            ("p", &["p", "..data", "v1", "v1/p"], Some("v1/p")),
            ("./v1/../p", &["v1", "p", "..data", "v1", "v1/p"], Some("v1/p")),
            ("none/p", &["none"], None),
        ] {
            let expected = (watched.iter().map(ToString::to_string).collect(), found.map(String::from));
            assert_eq!(looked_up(&scratch, path), expected, "{path}");
        }
        let (watched, found) = looked_up(&scratch, "q");
        assert_eq!((watched.last().map(String::as_str), found), (Some("gone"), None), "a link to nowhere");
        assert_eq!(looked_up(&scratch, "r").1, None, "a link to itself");
        fs::remove_dir_all(&scratch).unwrap();
    }
}
