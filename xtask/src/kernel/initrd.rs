//! The first files of a guest: busybox, the modules that reach the host's files, and a script that changes over to them.

use super::{package::Files, read_unpacked};
use anyhow::{Context, Result};
use lb_tests::command::run;
use std::{fs, path::Path, process::Command};

/// Modules that the script loads, with what they need.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];
const APPLETS: [&str; 5] = ["sh", "mount", "mkdir", "insmod", "switch_root"];

/// The archive, ready for QEMU.
pub(crate) fn build(files: &Files) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "proc", "sys", "dev", "modules", "lower", "overlay", "new"] {
        archive.folder(folder);
    }
    let busybox = fs::read("/bin/busybox")
        .context("no /bin/busybox; scripts/setup --with-lab installs busybox-static")?;
    archive.file("bin/busybox", &busybox);
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    let mut order = Vec::new();
    for module in MODULES {
        for path in with_dependencies(files, module)? {
            let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !order.contains(&name) {
                archive.file(&format!("modules/{name}"), &read_unpacked(Path::new(&path))?);
                order.push(name);
            }
        }
    }
    archive.file("modules/order", (order.join("\n") + "\n").as_bytes());
    archive.file("init", include_bytes!("init.sh"));
    Ok(archive.finish())
}

/// The module's file after those of the modules it needs; none if it is built in.
fn with_dependencies(files: &Files, module: &str) -> Result<Vec<String>> {
    let mut command = Command::new("modprobe");
    command.arg("-d").arg(&files.tree).args(["-S", &files.version, "--show-depends", module]);
    let lines = run(&mut command)?;
    Ok(lines
        .lines()
        .filter_map(|l| Some(l.strip_prefix("insmod ")?.split_whitespace().next()?.to_owned()))
        .collect())
}

/// A cpio archive in the `newc` form (Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, 0o100_755, content);
    }

    fn link(&mut self, name: &str, target: &str) {
        self.entry(name, 0o120_777, target.as_bytes());
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inodes += 1;
        let (inode, size, name_size) = (self.inodes, content.len(), name.len() + 1);
        // Magic; inode, mode, uid, gid, links, mtime, size; device and special device; name size; checksum.
        let head = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_aligned_entries_with_their_sizes() {
        let mut archive = Archive::default();
        archive.file("ab", b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[54..62], b"00000005", "size of the content");
        assert_eq!(&bytes[94..102], b"00000003", "size of the name");
        assert_eq!(&bytes[110..113], b"ab\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }
}
