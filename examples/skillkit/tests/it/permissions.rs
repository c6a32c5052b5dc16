//! Files without read permission. Root may read everything, so when root runs these tests, the
//! program runs as the user `nobody`.

use std::{
    fs::{self, File, Permissions},
    io::ErrorKind,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A folder with one good skill, and the program beside it, where any user may run it.
struct Place {
    home: TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        allow(home.path(), 0o755);
        let program = home.path().join("skillkit");
        fs::copy(env!("CARGO_BIN_EXE_skillkit"), &program).unwrap();
        let place = Self { home, program };
        place.skill("good");
        place
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("skills")
    }

    fn skill(&self, name: &str) -> PathBuf {
        let folder = self.root().join(name);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("SKILL.md");
        let text = format!("---\nname: {name}\ndescription: Good.\n---\nTakes $1 to $9, and $4.\n");
        fs::write(&file, text).unwrap();
        file
    }

    /// The exit code and the output, after `path` was made unreadable.
    fn without(&self, path: &Path) -> (Option<i32>, String) {
        allow(path, 0o000);
        let mut command = Command::new(&self.program);
        command.arg(self.root()).args(["--rounds", "1"]);
        command.env_remove("FOURWAY_RUNTIME").env_remove("NO_COLOR");
        let may_be_read = File::open(path).is_ok();
        if may_be_read {
            command.uid(65534);
        }
        let output = output_of(command);
        // So that the folder can be deleted.
        allow(path, 0o755);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let printed = text(&output.stdout) + &text(&output.stderr);
        (output.status.code(), printed)
    }
}

/// Another test's thread may just have forked while the copied program file was open for writing.
/// Until its child has called `exec`, this program cannot be run.
fn output_of(mut command: Command) -> Output {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                assert!(Instant::now() < end, "the program is busy for ever");
                thread::yield_now();
            }
            output => return output.unwrap(),
        }
    }
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_is_named_and_the_others_are_found() {
    let place = Place::new();
    let file = place.skill("secret");
    let (code, printed) = place.without(&file);
    assert_eq!(code, Some(0), "{printed}");
    let line = "  secret/SKILL.md:1: cannot be read: Permission denied (os error 13)\n";
    assert!(printed.contains(line), "{printed}");
    assert!(
        printed.contains("It finds 1 skill and 1 broken file under"),
        "{printed}"
    );
    assert!(printed.contains("This is broken:"), "{printed}");
}

#[test]
fn a_folder_is_named_and_the_others_are_found() {
    let place = Place::new();
    let file = place.skill("secret");
    let (code, printed) = place.without(file.parent().unwrap());
    assert_eq!(code, Some(0), "{printed}");
    let line = "  secret:1: cannot be read: Permission denied (os error 13)\n";
    assert!(printed.contains(line), "{printed}");
    assert!(
        printed.contains("It finds 1 skill and 1 broken file under"),
        "{printed}"
    );
}

#[test]
fn of_the_whole_folder_the_path_is_said_once() {
    let place = Place::new();
    let (code, printed) = place.without(&place.root());
    assert_eq!(code, Some(1), "{printed}");
    let root = place.root();
    let root = root.to_str().unwrap();
    assert_eq!(printed.matches(root).count(), 1, "{printed}");
    assert!(printed.contains("Permission denied"), "{printed}");
}
