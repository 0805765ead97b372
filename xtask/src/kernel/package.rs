//! Debian's kernels: fetched by apt from the suite that has them, unpacked into the cache, never installed.

use super::filter;
use anyhow::{Context, Result, anyhow, bail, ensure};
use lb_tests::command::run;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

/// Where Debian keeps a kernel series.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    series: &'static str,
    archive: &'static str,
    suite: &'static str,
    /// Package name up to the number that grows.
    prefix: &'static str,
    /// Package name after it.
    suffix: &'static str,
}

const RELEASES: [Release; 3] = [
    Release {
        series: "5.10",
        archive: "debian-security",
        suite: "bullseye-security",
        prefix: "linux-image-5.10.0-",
        suffix: "-amd64",
    },
    Release {
        series: "6.1",
        archive: "debian-security",
        suite: "bookworm-security",
        prefix: "linux-image-6.1.0-",
        suffix: "-amd64",
    },
    Release {
        series: "6.12",
        archive: "debian",
        suite: "bookworm-backports",
        prefix: "linux-image-6.12.",
        suffix: "+deb12-amd64",
    },
];

impl FromStr for Release {
    type Err = String;

    fn from_str(series: &str) -> Result<Release, String> {
        let known = || RELEASES.iter().map(|r| r.series).collect::<Vec<_>>().join(", ");
        let found = RELEASES.iter().find(|r| r.series == series);
        found
            .cloned()
            .ok_or_else(|| format!("only {} are known; xtask/src/kernel/package.rs can learn more", known()))
    }
}

/// A kernel in the cache.
pub(crate) struct Files {
    /// As `uname -r` prints it.
    pub(crate) version: String,
    /// The ELF image.
    pub(crate) image: PathBuf,
    /// The tree that holds `lib/modules/<version>`.
    pub(crate) tree: PathBuf,
}

/// The newest kernel of a series. One that is in the cache is not fetched again: remove its folder to get a newer one.
pub(crate) fn fetch(release: &Release, cache: &Path) -> Result<Files> {
    ensure!(cfg!(target_arch = "x86_64"), "only amd64 kernels are known here");
    let folder = cache.join(release.series);
    let (tree, image) = (folder.join("tree"), folder.join("vmlinux"));
    if !image.exists() {
        eprintln!("kernel: fetching the {} kernel from Debian into {}", release.series, folder.display());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&tree)?;
        let package = download(release, &folder)?;
        run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree))?;
        fs::remove_file(package)?;
        let version = version_of(&tree)?;
        run(Command::new("depmod").arg("-b").arg(&tree).arg(&version))?;
        let packed = fs::read(tree.join("boot").join(format!("vmlinuz-{version}")))?;
        // Last and in one step: its presence says that the rest is complete.
        let unfinished = folder.join("vmlinux.new");
        fs::write(&unfinished, unpack(&packed)?)?;
        fs::rename(unfinished, &image)?;
    }
    Ok(Files { version: version_of(&tree)?, image, tree })
}

fn version_of(tree: &Path) -> Result<String> {
    let folder = tree.join("lib/modules");
    let entry = fs::read_dir(&folder)?.next().with_context(|| format!("{} is empty", folder.display()))??;
    entry.file_name().into_string().map_err(|name| anyhow!("{name:?} is no kernel version"))
}

/// Downloads the newest package of a release with its own apt state, so that the machine's stays as it is.
fn download(release: &Release, folder: &Path) -> Result<PathBuf> {
    let state = folder.join("apt");
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(part))?;
    }
    let sources = state.join("sources.list");
    let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let (archive, suite) = (release.archive, release.suite);
    fs::write(&sources, format!("deb [signed-by={key}] {}/{archive} {suite} main\n", mirror()?))?;
    let apt = |program: &str| {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", sources.clone()),
            ("Dir::Etc::sourceparts", "-".into()),
            ("Dir::State::lists", state.join("lists")),
            ("Dir::Cache", state.join("cache")),
            ("APT::Sandbox::User", "root".into()),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        command.current_dir(folder);
        command
    };
    run(apt("apt-get").args(["-qq", "update"]))?;
    let names = run(apt("apt-cache").args(["pkgnames", release.prefix]))?;
    let number =
        |name: &str| name.strip_prefix(release.prefix)?.strip_suffix(release.suffix)?.parse::<u32>().ok();
    let newest =
        names.lines().filter(|name| number(name).is_some()).max_by_key(|name| number(name)).with_context(
            || format!("{} has no package {}*{}", release.suite, release.prefix, release.suffix),
        )?;
    run(apt("apt-get").args(["-qq", "download", newest]))?;
    fs::remove_dir_all(&state)?;
    let files = fs::read_dir(folder)?.flatten().map(|e| e.path());
    let mut packages = files.filter(|p| p.extension().is_some_and(|e| e == "deb"));
    packages.next().with_context(|| format!("apt downloaded no {newest}"))
}

/// The machine's own Debian mirror, without the archive's name.
fn mirror() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path()));
    for text in files.iter().filter_map(|f| fs::read_to_string(f).ok()) {
        let words = text.lines().filter(|l| !l.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        for word in words.filter(|w| w.starts_with("http")) {
            if let Some(base) = word.trim_end_matches('/').strip_suffix("/debian") {
                return Ok(base.to_owned());
            }
        }
    }
    bail!("no Debian mirror stands in /etc/apt/sources.list or sources.list.d")
}

/// The ELF image inside a bzImage (Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length). QEMU
/// boots it at once, where unpacking it under emulation takes seconds.
fn unpack(bzimage: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| -> Result<usize> {
        let bytes = bzimage.get(at..at + 4).context("it is cut short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    ensure!(bzimage.get(0x202..0x206) == Some(b"HdrS"), "it is no bzImage");
    let sectors = usize::from(*bzimage.get(0x1f1).context("it is cut short")?);
    let start = (sectors + 1) * 512 + word(0x248)?;
    // The last four bytes are the unpacked size.
    let end = start + word(0x24c)? - 4;
    let payload = bzimage.get(start..end).context("it is cut short")?;
    let image = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => filter("xz", &["-dc", "--single-stream"], payload)?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => filter("zstd", &["-dcq"], payload)?,
        _ => bail!("the kernel is packed in a way that is not known here"),
    };
    ensure!(image.starts_with(b"\x7fELF"), "what was packed is no ELF image");
    Ok(image)
}
