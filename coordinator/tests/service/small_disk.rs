//! A small file system of its own for a test: a tmpfs in a mount namespace that ends with the test's process, whatever becomes of it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) struct SmallDisk {
    /// Keeps the namespace: it reads from us until we are gone.
    holder: Child,
    /// The disk's root as this process and its children see it.
    root: PathBuf,
    _mounted_on: tempfile::TempDir,
}

impl SmallDisk {
    /// One of so many MiB; none, which is told, where this machine lets nobody mount.
    pub(crate) fn new(mib: u32) -> Option<Self> {
        let mounted_on = tempfile::tempdir().unwrap();
        let script =
            format!("mount -t tmpfs -o size={mib}m,mode=777 tmpfs \"$0\" && echo mounted && exec cat");
        let mut command = Command::new("unshare");
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "sh", "-c", &script]).arg(mounted_on.path());
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut holder = match started {
            Ok(holder) => holder,
            Err(error) => {
                assay_tests::skip("small-disk", &format!("unshare does not start ({error})"));
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "mounted" {
            let output = holder.wait_with_output().unwrap();
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            assay_tests::skip("small-disk", &format!("this machine lets nobody mount: {why}"));
            return None;
        }
        let inside = mounted_on.path().strip_prefix("/").unwrap();
        let root = PathBuf::from(format!("/proc/{}/root", holder.id())).join(inside);
        Some(Self { holder, root, _mounted_on: mounted_on })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        let about = nix::sys::statvfs::statvfs(&self.root).unwrap();
        about.blocks_available() as u64 * about.fragment_size() as u64
    }

    /// Fills it until so much is left.
    pub(crate) fn fill(&self, left_bytes: u64) {
        let mut ballast = OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        while self.free_bytes() > left_bytes {
            let block = vec![0; (self.free_bytes() - left_bytes).min(64 << 10) as usize];
            if ballast.write_all(&block).is_err() {
                return;
            }
        }
    }

    /// Gives back what `fill` took.
    pub(crate) fn make_room(&self) {
        File::create(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone_is_fine = self.holder.kill();
        let _gone_is_fine = self.holder.wait();
    }
}
