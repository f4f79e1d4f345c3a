//! A file that is read here and there: Parquet's readers begin at its end.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// What can be read at any place.
pub(crate) trait ReadAt: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;
    /// Reads what follows this place, as much of it as there is and fits.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |found| found.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }
}

/// A file of a store, for Parquet's readers.
#[derive(Clone)]
pub struct Parts(Arc<dyn ReadAt>);

impl Parts {
    pub(super) fn of(file: Box<dyn ReadAt>) -> Parts {
        Parts(Arc::from(file))
    }
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Parts {
    type T = BufReader<ReadFrom>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::new(ReadFrom { file: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity(length);
        let read = ReadFrom { file: self.clone(), at: start }.take(length as u64).read_to_end(&mut bytes)?;
        if read != length {
            return Err(ParquetError::EOF(format!("Expected to read {length} bytes, read only {read}")));
        }
        Ok(bytes.into())
    }
}

/// What follows a place in a file.
pub struct ReadFrom {
    file: Parts,
    at: u64,
}

impl Read for ReadFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.0.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
