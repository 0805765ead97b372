//! The one userspace door with `unsafe`: calls of `bpf(2)` that aya has no way for.
//!
//! aya attaches XDP by netlink when the kernel refuses a link, which nobody could pin; it hides a link's interface; and
//! it reads maps one entry at a time. Layouts are those of `union bpf_attr` in the kernel's `include/uapi/linux/bpf.h`.
#![allow(
    unsafe_code,
    reason = "bpf(2) takes pointers; every one is made from a borrow that outlives the call"
)]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;
/// The attach type that aya loads programs of an `xdp` section with.
const BPF_XDP: u32 = 37;
const BPF_LINK_TYPE_XDP: u32 = 6;

/// How a link attaches; the values of `XDP_FLAGS_*` in `linux/if_link.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// In the driver.
    Native = 1 << 2,
    /// In the network stack.
    Generic = 1 << 1,
}

/// What the kernel says about an XDP link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// Number of the link.
    pub(super) id: u32,
    /// Number of the program it runs.
    pub(super) program: u32,
    /// Its interface; 0 when that has vanished.
    pub(super) ifindex: u32,
}

#[repr(C)]
#[derive(Default)]
struct ObjectAttr {
    pathname: u64,
    fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    _hole: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    program_fd: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link_fd: u32,
    program_fd: u32,
    flags: u32,
    old_program_fd: u32,
}

/// The first part of `struct bpf_link_info`; the union behind `program` starts at a multiple of 8.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    _hole: u32,
    ifindex: u32,
    _rest: [u32; 11],
}

/// Calls `bpf(2)`. Pointers in `attr` must be valid for what the command does with them.
fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: attr is exclusively borrowed and size_of::<T>() long; each caller below fills its pointers from borrows
    // that live until this returns, with the lengths that the command reads or writes.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }
}

fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    // A borrowed descriptor is never negative.
    fd.as_raw_fd().unsigned_abs()
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Opens a pinned object.
pub(super) fn object_get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = ObjectAttr { pathname: path.as_ptr() as u64, ..ObjectAttr::default() };
    bpf(BPF_OBJ_GET, &mut attr).map(owned)
}

/// Pins an object.
pub(super) fn object_pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = ObjectAttr { pathname: path.as_ptr() as u64, fd: fd_number(fd), ..ObjectAttr::default() };
    bpf(BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Opens a program by its number. Needs CAP_SYS_ADMIN.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(BPF_PROG_GET_FD_BY_ID, &mut IdAttr { id, ..IdAttr::default() }).map(owned)
}

/// Attaches an XDP program to an interface by a link.
pub(super) fn link_create(program: BorrowedFd<'_>, ifindex: u32, mode: Mode) -> io::Result<OwnedFd> {
    let mut attr =
        LinkCreateAttr { program_fd: fd_number(program), ifindex, attach_type: BPF_XDP, flags: mode as u32 };
    bpf(BPF_LINK_CREATE, &mut attr).map(owned)
}

/// Puts another program under a link, atomically.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr {
        link_fd: fd_number(link),
        program_fd: fd_number(program),
        ..LinkUpdateAttr::default()
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Takes the program off the interface of a link, which is of no use afterwards.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &mut fd_number(link)).map(drop)
}

/// What the kernel says about a link. An error of kind `InvalidData` when it is not an XDP link.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = RawLinkInfo::default();
    let mut attr = InfoAttr {
        fd: fd_number(link),
        info_len: size_of::<RawLinkInfo>() as u32,
        info: &raw mut info as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    if info.kind != BPF_LINK_TYPE_XDP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an XDP link"));
    }
    Ok(LinkInfo { id: info.id, program: info.program, ifindex: info.ifindex })
}

/// Whether an array of maps holds a map at `index`. aya would open that map, which needs CAP_SYS_ADMIN.
pub(super) fn holds_map(map: BorrowedFd<'_>, index: u32) -> io::Result<bool> {
    let mut id = 0_u32;
    let mut attr = ElementAttr {
        map_fd: fd_number(map),
        key: &raw const index as u64,
        value: &raw mut id as u64,
        ..ElementAttr::default()
    };
    match bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Takes a map out of an array of maps; none there is fine.
pub(super) fn remove_map(map: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let mut attr =
        ElementAttr { map_fd: fd_number(map), key: &raw const index as u64, ..ElementAttr::default() };
    match bpf(BPF_MAP_DELETE_ELEM, &mut attr) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(drop),
    }
}

/// Where a batch read of a map stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor(Option<u32>);

/// Reads the next entries of a map into `keys` and `values`, which must be equally long (and, of a hash map, hold the
/// entries of its fullest bucket). Returns how many were read and whether there are more.
pub(super) fn lookup_batch<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    assert_eq!(keys.len(), values.len(), "a batch has as many values as keys");
    batch(map, cursor, keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64, keys.len())
}

/// The same for a map that nobody here has types for: `sizes` are the bytes of its keys and values, as the kernel says.
pub(super) fn lookup_batch_bytes(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    keys: &mut [u8],
    values: &mut [u8],
    sizes: (usize, usize),
) -> io::Result<(usize, bool)> {
    let count = keys.len() / sizes.0;
    assert!(keys.len() == count * sizes.0 && values.len() == count * sizes.1, "as many values as keys");
    batch(map, cursor, keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64, count)
}

/// Reads up to `count` entries to the addresses `keys` and `values`, which callers make from borrows of that length.
fn batch(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    keys: u64,
    values: u64,
    count: usize,
) -> io::Result<(usize, bool)> {
    let from = cursor.0.unwrap_or(0);
    let mut next = 0_u32;
    let mut attr = BatchAttr {
        in_batch: if cursor.0.is_some() { &raw const from as u64 } else { 0 },
        out_batch: &raw mut next as u64,
        keys,
        values,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        map_fd: fd_number(map),
        ..BatchAttr::default()
    };
    let result = bpf(BPF_MAP_LOOKUP_BATCH, &mut attr);
    let count = (attr.count as usize).min(count);
    match result {
        Ok(_) => {
            *cursor = Cursor(Some(next));
            Ok((count, true))
        }
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok((count, false)),
        Err(e) => Err(e),
    }
}

/// An XDP program as versions before Linux 5.9 loaded it: of no attach type. It leaves every packet to the host.
#[cfg(test)]
pub(super) fn program_of_no_attach_type() -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    #[repr(C)]
    struct ProgramAttr {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
    }
    // r0 = XDP_PASS; exit
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
    let mut attr = ProgramAttr {
        kind: BPF_PROG_TYPE_XDP,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    bpf(BPF_PROG_LOAD, &mut attr).map(owned)
}
