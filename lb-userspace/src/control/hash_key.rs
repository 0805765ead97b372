//! The key of the hash behind all call keys: 16 bytes in hex, made at the first start, the same on all balancers of a
//! cluster.

use crate::{
    failure::Failure,
    fault::{self, Point},
};
use lb_common::hash::HashKey;
use rustix::rand::{GetRandomFlags, getrandom};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Bytes of a key.
const LEN: usize = 16;

/// Reads the key file; None when there is none.
///
/// # Errors
/// When it cannot be read or holds something else.
pub fn read(path: &Path) -> Result<Option<HashKey>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map(Some).ok_or_else(|| {
            Failure::bad("hash_key", format!("{} does not hold 16 bytes in hex", path.display())).remedy(
                "copy the file of another balancer of the cluster, or move it away and a new one is made: \
                 that forgets where the calls in progress are pinned",
            )
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::bad("hash_key", format!("cannot read {}: {e}", path.display()))),
    }
}

/// Reads the key file, or makes one of mode 0600 with a random key.
///
/// # Errors
/// When it can be neither read nor made.
pub fn read_or_make(path: &Path) -> Result<HashKey, Failure> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let mut bytes = [0_u8; LEN];
    let cannot = |e: io::Error| Failure::bad("hash_key", format!("cannot make {}: {e}", path.display()));
    let filled = getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| cannot(e.into()))?;
    if filled != LEN {
        return Err(cannot(io::Error::other("the kernel gave too few random bytes")));
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(cannot)?;
    }
    // Under another name until it is whole: half a key would keep every later start from going on.
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(cannot)?;
    writeln!(file, "{}", hex(&bytes)).map_err(cannot)?;
    file.sync_all().map_err(cannot)?;
    fault::pass(Point::KeyWritten);
    fs::rename(&new, path).map_err(cannot)?;
    tracing::info!("made a new hash key in {}; give every balancer of a cluster the same", path.display());
    Ok(from_bytes(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn parse(text: &str) -> Option<HashKey> {
    let digits = text.trim().as_bytes();
    if digits.len() != 2 * LEN || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(from_bytes(&bytes))
}

/// Both halves little endian, as the reference implementation of SipHash reads a key.
fn from_bytes(bytes: &[u8; LEN]) -> HashKey {
    let half = |at: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(half)
    };
    HashKey { k0: half(0), k1: half(8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_16_bytes_in_hex() {
        let key = parse("000102030405060708090a0b0c0D0e0F\n").unwrap();
        assert_eq!(key, HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 });
        for bad in ["", "00", "000102030405060708090a0b0c0d0e0g", "+00102030405060708090a0b0c0d0e0f"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_new_key_is_secret_and_stays() {
        let dir = std::env::temp_dir().join(format!("sipsteer-key-{}", std::process::id()));
        let path = dir.join("hash.key");
        assert_eq!(read(&path), Ok(None));
        let key = read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_make(&path), Ok(key));
        fs::write(&path, "rubbish").unwrap();
        assert_eq!(read_or_make(&path).unwrap_err().code, "hash_key");
        fs::remove_dir_all(&dir).unwrap();
    }
}
