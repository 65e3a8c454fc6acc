//! The files of keys, cut off and damaged at every byte.

use std::fs;

use tempfile::TempDir;

use super::*;

fn store(folder: &TempDir) -> FileKeyStore {
    FileKeyStore::new(folder.path().join("keys"))
}

async fn save(store: &FileKeyStore, keys: &[u8], erase: bool) {
    let keys = Zeroizing::new(keys.to_vec());
    store.save(keys, erase).await.unwrap();
}

fn loaded(folder: &TempDir) -> Option<Vec<u8>> {
    store(folder).load().unwrap().map(|keys| keys.to_vec())
}

fn files(folder: &TempDir) -> [PathBuf; 2] {
    NAMES.map(|name| folder.path().join("keys").join(name))
}

#[tokio::test]
async fn what_is_saved_is_read_and_what_is_erased_is_in_no_file() {
    let folder = TempDir::new().unwrap();
    let one = store(&folder);
    assert_eq!(loaded(&folder), None);
    assert!(
        !folder.path().join("keys").exists(),
        "looking makes nothing"
    );
    save(&one, b"the first secret, which is long", true).await;
    save(&one, b"the first secret and another", false).await;
    assert_eq!(loaded(&folder).unwrap(), b"the first secret and another");
    let holds = |needle: &[u8]| {
        files(&folder).iter().any(|file| {
            let bytes = fs::read(file).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    assert!(holds(b"first secret"));
    save(&one, b"another", true).await;
    assert!(!holds(b"first secret") && !holds(b"long"));
    assert_eq!(loaded(&folder).unwrap(), b"another");
    for file in files(&folder) {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_save_that_is_cut_off_at_any_byte_leaves_what_was_saved_before() {
    for erase in [false, true] {
        let folder = TempDir::new().unwrap();
        let one = store(&folder);
        save(&one, b"old old old", true).await;
        let before = files(&folder).map(|file| fs::read(file).unwrap());
        save(&one, b"new new new, longer", erase).await;
        let after = files(&folder).map(|file| fs::read(file).unwrap());
        drop(one);
        // First one file is written, then, if something is erased, the other.
        let first = usize::from(before[0] == after[0]);
        let first = if erase { 0 } else { first };
        let order = if erase {
            vec![first, 1 - first]
        } else {
            vec![first]
        };
        let mut now = before.clone();
        for index in order {
            for end in 0..=after[index].len().min(200) {
                let mut torn = before[index].clone();
                torn[..end].copy_from_slice(&after[index][..end]);
                let paths = files(&folder);
                fs::write(&paths[index], &torn).unwrap();
                fs::write(&paths[1 - index], &now[1 - index]).unwrap();
                let found = loaded(&folder).unwrap();
                assert!(found == b"old old old" || found == b"new new new, longer");
            }
            now[index] = after[index].clone();
        }
        assert_eq!(loaded(&folder).unwrap(), b"new new new, longer");
    }
}

#[tokio::test]
async fn one_damaged_file_is_mended_by_the_other_and_two_are_an_error() {
    let folder = TempDir::new().unwrap();
    save(&store(&folder), b"some keys", true).await;
    let [one, two] = files(&folder);
    let whole = fs::read(&one).unwrap();
    for at in 0..HEAD_BYTES + 9 + DIGEST_BYTES {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&one, damaged).unwrap();
        assert_eq!(loaded(&folder).unwrap(), b"some keys", "byte {at}");
    }
    fs::write(&one, &whole).unwrap();
    fs::remove_file(&two).unwrap();
    assert_eq!(loaded(&folder).unwrap(), b"some keys");
    fs::write(&one, b"").unwrap();
    let error = store(&folder).load().unwrap_err();
    assert!(matches!(error, KeyStoreError::Damaged(_)), "{error}");
}

#[tokio::test]
async fn keys_that_others_may_read_are_refused_and_one_server_has_them() {
    let folder = TempDir::new().unwrap();
    let one = store(&folder);
    save(&one, b"some keys", true).await;
    let error = store(&folder).hold().unwrap_err();
    assert!(matches!(error, KeyStoreError::Taken(_)), "{error}");
    drop(one);
    assert!(store(&folder).hold().unwrap().is_some());
    let [path, _] = files(&folder);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = store(&folder).load().unwrap_err();
    assert!(
        matches!(error, KeyStoreError::Mode { mode: 0o640, .. }),
        "{error}"
    );
}
