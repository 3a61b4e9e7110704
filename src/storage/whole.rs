//! Small files beside the journal, each replaced as a whole: after a crash it is the old one or the new one.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::journal::{MODE, sync_directory};

/// What a file is called until it is whole.
const FRESH: &str = "new";

/// Replaces a file, for good.
///
/// # Errors
/// The system's. Either may be there then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(FRESH);
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(MODE).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// What is in a file of at most `max` bytes; nothing, if there is none. It is there for good: no crash brings the one
/// before it back.
///
/// # Errors
/// The system's, and a file that is longer.
pub fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    // A relay may have been killed after it renamed a file, and before it made sure of that.
    sync_directory(path.parent().unwrap_or(Path::new(".")))?;
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max} bytes")));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_last_and_what_is_half_written_counts_for_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("list.json");
        assert_eq!(read(&path, 10).expect("readable"), None);
        replace(&path, b"old").expect("written");
        fs::write(path.with_extension(FRESH), "ha").expect("written");
        assert_eq!(read(&path, 3).expect("readable"), Some(b"old".to_vec()));
        replace(&path, b"new").expect("written");
        assert_eq!(read(&path, 3).expect("readable"), Some(b"new".to_vec()));
        assert_eq!(read(&path, 2).expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
        assert!(!path.with_extension(FRESH).exists());
    }
}
