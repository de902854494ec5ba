//! Writes images for tests: layers as tar archives byte by byte, also such as no builder would write, and around them an OCI image layout or
//! what `docker save` makes.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    Plain,
    Gzip,
    Zstd,
}

/// One entry.
#[derive(Debug, Clone)]
pub struct E<'a> {
    pub name: &'a [u8],
    /// Type as in the header: `0` file, `1` hard link, `2` symbolic link, `3` and `4` devices, `5` folder, `6` pipe.
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub owner: (u64, u64),
    /// As pax writes it.
    pub mtime: &'a str,
    pub xattrs: &'a [(&'a str, &'a [u8])],
    pub device: (u32, u32),
    pub content: &'a [u8],
}

impl Default for E<'_> {
    fn default() -> Self {
        E {
            name: b"",
            kind: b'0',
            link: b"",
            mode: 0o644,
            owner: (0, 0),
            mtime: "1500000000",
            xattrs: &[],
            device: (0, 0),
            content: b"",
        }
    }
}

pub fn file<'a>(name: &'a str, content: &'a [u8]) -> E<'a> {
    E { name: name.as_bytes(), content, ..E::default() }
}
pub fn dir(name: &str, mode: u32) -> E<'_> {
    E { name: name.as_bytes(), kind: b'5', mode, ..E::default() }
}
pub fn symlink<'a>(name: &'a str, target: &'a str) -> E<'a> {
    E { name: name.as_bytes(), kind: b'2', link: target.as_bytes(), mode: 0o777, ..E::default() }
}
pub fn hard<'a>(name: &'a str, target: &'a str) -> E<'a> {
    E { name: name.as_bytes(), kind: b'1', link: target.as_bytes(), ..E::default() }
}

fn header(name: &[u8], kind: u8, size: u64, e: &E) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(e.mode);
    header.set_uid(e.owner.0);
    header.set_gid(e.owner.1);
    header.set_size(size);
    header.set_mtime(e.mtime.split('.').next().unwrap().parse().unwrap_or(0));
    header.set_device_major(e.device.0).unwrap();
    header.set_device_minor(e.device.1).unwrap();
    let short = |field: &mut [u8], text: &[u8]| {
        let length = text.len().min(field.len());
        field[..length].copy_from_slice(&text[..length]);
    };
    let fields = header.as_ustar_mut().unwrap();
    short(&mut fields.name, name);
    short(&mut fields.linkname, e.link);
    header.set_cksum();
    header
}

fn padded(archive: &mut Vec<u8>, content: &[u8]) {
    archive.extend_from_slice(content);
    archive.resize(archive.len().div_ceil(512) * 512, 0);
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// Adds an entry to an archive.
pub fn add(archive: &mut Vec<u8>, e: &E) {
    let mut pax = Vec::new();
    if e.name.len() > 100 || e.name.contains(&0) {
        pax.extend(record("path", e.name));
    }
    if e.link.len() > 100 {
        pax.extend(record("linkpath", e.link));
    }
    if e.mtime.contains('.') {
        pax.extend(record("mtime", e.mtime.as_bytes()));
    }
    for (name, value) in e.xattrs {
        pax.extend(record(&format!("SCHILY.xattr.{name}"), value));
    }
    if !pax.is_empty() {
        let plain = E { link: b"", ..e.clone() };
        archive.extend_from_slice(header(b"pax", b'x', pax.len() as u64, &plain).as_bytes());
        padded(archive, &pax);
    }
    archive.extend_from_slice(header(e.name, e.kind, e.content.len() as u64, e).as_bytes());
    padded(archive, e.content);
}

/// A layer of these entries, with its end mark.
pub fn layer(entries: &[E]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        add(&mut archive, entry);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

pub fn pack(archive: &[u8], packed: Packed) -> Vec<u8> {
    match packed {
        Packed::Plain => archive.to_vec(),
        Packed::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(archive).unwrap();
            encoder.finish().unwrap()
        }
        Packed::Zstd => zstd::encode_all(archive, 1).unwrap(),
    }
}

pub fn digits(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A configuration: base first.
pub fn config(diff_ids: &[String]) -> Vec<u8> {
    let history: Vec<Value> = (0..diff_ids.len())
        .flat_map(|n| {
            [
                json!({"created": "2017-12-12T07:15:58.901779813Z", "created_by": format!("ADD layer-{n} in /")}),
                json!({"created_by": "CMD [\"redis-server\"]", "empty_layer": true}),
            ]
        })
        .collect();
    let diff_ids: Vec<String> = diff_ids.iter().map(|digits| format!("sha256:{digits}")).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history});
    serde_json::to_vec(&config).unwrap()
}

/// The files of an OCI image layout with one image: names and contents.
pub fn oci_files(reference: Option<&str>, layers: &[(Vec<u8>, Packed)]) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    let mut blob = |kind: &str, content: Vec<u8>| {
        let digits = digits(&content);
        let descriptor = json!({"mediaType": kind, "digest": format!("sha256:{digits}"), "size": content.len()});
        files.push((format!("blobs/sha256/{digits}"), content));
        descriptor
    };
    let config = config(&layers.iter().map(|(archive, _)| digits(archive)).collect::<Vec<_>>());
    let config = blob("application/vnd.oci.image.config.v1+json", config);
    let described: Vec<Value> = layers
        .iter()
        .map(|(archive, packed)| {
            let end = match packed {
                Packed::Plain => "",
                Packed::Gzip => "+gzip",
                Packed::Zstd => "+zstd",
            };
            blob(&format!("application/vnd.oci.image.layer.v1.tar{end}"), pack(archive, *packed))
        })
        .collect();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": described});
    let mut manifest = blob(kind, serde_json::to_vec(&manifest).unwrap());
    if let Some(reference) = reference {
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": reference});
    }
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    files.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
    files
}

/// What `docker save` wrote until version 25: `<digits>.json`, `<id>/layer.tar`, `manifest.json`.
pub fn docker_files(tags: &[&str], layers: &[(Vec<u8>, Packed)]) -> Vec<(String, Vec<u8>)> {
    let config = config(&layers.iter().map(|(archive, _)| digits(archive)).collect::<Vec<_>>());
    let name = format!("{}.json", digits(&config));
    let mut files = vec![(name.clone(), config)];
    let mut names = Vec::new();
    for (index, (archive, packed)) in layers.iter().enumerate() {
        let name = format!("{index:064x}/layer.tar");
        names.push(name.clone());
        files.push((name, pack(archive, *packed)));
    }
    let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": names}]);
    files.push(("manifest.json".to_owned(), serde_json::to_vec(&manifest).unwrap()));
    files
}

pub fn write_folder(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

pub fn write_archive(path: &Path, files: &[(String, Vec<u8>)], packed: Packed) {
    let entries: Vec<E> = files.iter().map(|(name, content)| file(name, content)).collect();
    fs::write(path, pack(&layer(&entries), packed)).unwrap();
}
