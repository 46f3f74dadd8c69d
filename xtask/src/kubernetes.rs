//! The programs of Kubernetes and its test suites, built from the Go modules of `testbed/kubernetes` into a cache outside the tree.

mod go;
mod modules;

use crate::lacking::Lacking;
use anyhow::{Context, Result, bail};
pub(crate) use modules::{MODULES, Module};
use std::path::{Path, PathBuf};

/// Builds the modules of these names, or all; what is built already is not built again.
pub(crate) fn build(names: &[String]) -> Result<()> {
    let unknown = names.iter().find(|name| !MODULES.iter().any(|module| module.name == **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = MODULES.iter().map(|module| module.name).collect();
        bail!("no module `{name}`; the modules are {}", known.join(", "));
    }
    for module in
        MODULES.iter().filter(|module| names.is_empty() || names.iter().any(|name| name == module.name))
    {
        let directory = ensure(module)?;
        println!("kubernetes: {} is in {}", module.name, directory.display());
    }
    Ok(())
}

/// The path of a program; its module is built first where that has not been done.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let module = MODULES.iter().find(|module| module.programs.contains(&name));
    let module = module.with_context(|| format!("no module of testbed/kubernetes builds `{name}`"))?;
    Ok(ensure(module)?.join(name))
}

/// The directory of a Go module that a module of `testbed/kubernetes` uses, downloaded unless Go has it.
pub(crate) fn download(name: &str, path: &str) -> Result<PathBuf> {
    let module = MODULES.iter().find(|module| module.name == name);
    go::download(module.with_context(|| format!("no module `{name}`"))?, path)
}

/// The cache outside the tree: `$NEXIN_KUBERNETES`, or `nexin/kubernetes` in the user's cache.
pub(crate) fn cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    variable("NEXIN_KUBERNETES")
        .or_else(|| Some(user()?.join("nexin/kubernetes")))
        .context("neither NEXIN_KUBERNETES nor HOME names a directory for the programs")
}

/// The directory with the module's programs, built if there is none for the module's files and this Go.
fn ensure(module: &Module) -> Result<PathBuf> {
    let wanted = module.wanted_go()?;
    let go = go::version(&wanted).map_err(|reason| {
        Lacking(format!(
            "{reason}; the module {} is built with Go {wanted} or newer (https://go.dev/dl)",
            module.name
        ))
    })?;
    let cache = cache()?;
    let directory = cache.join(format!("{}-{}", module.name, module.key(&go)?));
    if module.programs.iter().all(|program| directory.join(program).exists()) {
        return Ok(directory);
    }
    let unfinished = cache.join(format!("{}.{}", module.name, std::process::id()));
    std::fs::create_dir_all(&unfinished)?;
    let built = go::build(module, &unfinished);
    if built.is_err() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    built?;
    remove_earlier(&cache, module)?;
    std::fs::rename(&unfinished, &directory)?;
    Ok(directory)
}

/// Removes what was built from earlier files of the module. A process that runs such a program keeps it.
fn remove_earlier(cache: &Path, module: &Module) -> Result<()> {
    for entry in std::fs::read_dir(cache)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .strip_prefix(module.name)
            .is_some_and(|rest| rest.starts_with('-'))
        {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
