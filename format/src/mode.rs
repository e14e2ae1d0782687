//! File types and mode bits, as in `st_mode` (format.md, "Base inode").

/// Mask of the file type bits.
pub const S_IFMT: u32 = 0o170_000;
/// Mask of the permission bits, set-id and sticky bits included.
pub const PERMISSIONS: u32 = 0o7777;
/// Set user id on execution.
pub const S_ISUID: u32 = 0o4000;
/// Set group id on execution.
pub const S_ISGID: u32 = 0o2000;

/// What kind of file an inode is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileType {
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
}

impl FileType {
    /// The type a mode word names; `None` for a type that does not exist.
    #[must_use]
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & S_IFMT {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// The type bits of a mode word.
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The letter `ls -l` prints for it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Fifo => 'p',
            Self::CharDevice => 'c',
            Self::Directory => 'd',
            Self::BlockDevice => 'b',
            Self::Regular => '-',
            Self::Symlink => 'l',
            Self::Socket => 's',
        }
    }

    /// Whether the inode carries a device number.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self, Self::CharDevice | Self::BlockDevice)
    }
}

/// A mode word as `ls -l` prints it: type letter and nine permission letters.
#[must_use]
pub fn mode_string(mode: u32) -> [u8; 10] {
    let mut out = *b"?---------";
    if let Some(kind) = FileType::from_mode(mode) {
        out[0] = kind.letter() as u8;
    }
    for (i, letter) in b"rwxrwxrwx".iter().enumerate() {
        if mode & (0o400 >> i) != 0 {
            out[i + 1] = *letter;
        }
    }
    for (bit, at, set, unset) in
        [(0o4000, 3, b's', b'S'), (0o2000, 6, b's', b'S'), (0o1000, 9, b't', b'T')]
    {
        if mode & bit != 0 {
            out[at] = if out[at] == b'x' { set } else { unset };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_mode_word() {
        for kind in [
            FileType::Fifo,
            FileType::CharDevice,
            FileType::Directory,
            FileType::BlockDevice,
            FileType::Regular,
            FileType::Symlink,
            FileType::Socket,
        ] {
            assert_eq!(FileType::from_mode(kind.mode_bits() | 0o7777), Some(kind));
        }
        assert_eq!(FileType::from_mode(0), None);
        assert_eq!(FileType::from_mode(0o150_000), None);
    }

    #[test]
    fn mode_strings_look_like_ls() {
        assert_eq!(&mode_string(0o100_644), b"-rw-r--r--");
        assert_eq!(&mode_string(0o104_755), b"-rwsr-xr-x");
        assert_eq!(&mode_string(0o041_777), b"drwxrwxrwt");
        assert_eq!(&mode_string(0o102_640), b"-rw-r-S---");
    }
}
