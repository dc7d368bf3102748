//! Small files in containers, by Docker's archive call: it needs no shell in the image, and it resolves links inside the
//! container. An archive of one file is two blocks and its text, so it is written and read here.

use std::time::Duration;

use bollard::query_parameters as query;
use futures_util::stream::StreamExt;

use super::client::{Swarm, SwarmFault, ask};

const CALL: Duration = Duration::from_secs(15);
const BLOCK: usize = 512;

impl Swarm {
    /// Writes a file into a folder of a container, over what is there. A folder that is not there, or is none, is a refusal.
    pub async fn put_file(&self, container: &str, folder: &str, name: &str, text: &[u8]) -> Result<(), SwarmFault> {
        let options = query::UploadToContainerOptions { path: folder.to_owned(), ..Default::default() };
        let body = bollard::body_full(archive(name, text).into());
        let call = self.docker.upload_to_container(container, Some(options), body);
        ask(format!("write {name} into {folder} of {container}"), CALL, call).await
    }

    /// The first `most` bytes of a plain file of a container; `None` where there is none.
    pub async fn file(&self, container: &str, path: &str, most: usize) -> Result<Option<Vec<u8>>, SwarmFault> {
        let options = query::DownloadFromContainerOptions { path: path.to_owned() };
        let reading = async {
            let mut pieces = std::pin::pin!(self.docker.download_from_container(container, Some(options)));
            let mut read = Vec::new();
            while let Some(piece) = pieces.next().await {
                read.extend_from_slice(&piece?);
                if read.len() >= BLOCK + most {
                    break;
                }
            }
            Ok(read)
        };
        match ask(format!("read {path} of {container}"), CALL, reading).await {
            Ok(read) => Ok(content(&read, most)),
            Err(fault) if fault.is_gone() => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// One file as a tar archive.
fn archive(name: &str, text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", text.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut all = block.to_vec();
    all.extend_from_slice(text);
    all.resize(all.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    all
}

/// The file at the beginning of a tar archive, if it is a plain one.
fn content(archive: &[u8], most: usize) -> Option<Vec<u8>> {
    let (header, rest) = archive.split_at_checked(BLOCK)?;
    if !matches!(header[156], b'0' | 0) {
        return None;
    }
    let size = std::str::from_utf8(&header[124..135]).ok()?;
    let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).ok()?;
    rest.get(..size.min(most)).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_out_as_it_went_in() {
        let packed = archive(".cc-ci-marker-7", b"kept");
        assert_eq!(packed.len(), 4 * BLOCK);
        assert_eq!(content(&packed, 100).unwrap(), b"kept");
        assert_eq!(content(&packed, 2).unwrap(), b"ke");
        let mut link = packed.clone();
        link[156] = b'2';
        assert_eq!(content(&link, 100), None);
        assert_eq!(content(&packed[..100], 100), None);
    }
}
