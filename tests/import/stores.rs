//! The stores of Docker and Podman: the seed's redis and busybox as Docker 1.x kept them, and the same image in every other store.

use std::fs;
use std::path::Path;
use std::process::Command;

use layerbench::stack::{LayerForm, LayerStack};
use serde_json::json;

use super::round_trip::{compare, layers, open, packed};
use super::writer::{Packed, config, digits, oci_files, write_folder};
use super::{Bed, inside, text, tree};

/// redis:latest of the seed, the top layer first, with the bytes of its `layersize` where the seed states them.
const REDIS: [&str; 16] = [
    "c7d952921cec16e2213a30b7e9251ae41d3388f8bb47a55115373eb8f5f86c0d",
    "cdae54488c335c13449ff5144e0314e70a800e123d8040d75cb232a9ac9d15f3",
    "b24a601bcb9d4e260f17cb62896fdac69879b9c9d1c20edf89148009bb7eabdd",
    "b7619ad72c9ec5b3c9c46d8d97889980814a97429133efa4c9029d0a2377a053",
    "893c56607b58ceaf230a05b23bf0d623e25cdcdb3f294851c51aaadddd2ffa4a",
    "41f541aa23f61e71734713a96b4e9051b1c069e0c7ce9f90ec5af9225782d87d",
    "a2c7b01316337e88a14f8a0b7c3be69a3d97b2a53a2cea086c9df1e903687101",
    "f450a2878ab6a2d234f3a5107205e5599dd3c75565d8fc360f5b7f889c0e78ed",
    "3729e0036a740d3154b22675958accc7182a43a3a1885a1af3ea2fe3d01edc34",
    "c0f8939f779a9f6bcf63aa97be01909f3f12015b60d9aef29ff77d8c0c0bd517",
    "148cfbb17c8f4695253afa1a26d91c01f04d062d95d7e955c6093c9a744c1e07",
    "adcb27129429d01e1b72617a732163644ee7be9b031398c97c2e21987f78a608",
    "e4b18f28200c126f9d4e95cd987204b68dbc4dcc2b7729a43ae10fe5ecd6700e",
    "e5bcc9ce9b776659b5d8a8dc4d1b4bccb0d3f5a9c3ec750f5e1aa5f58c3e5a4e",
    "77fe44e7dc795ca45a75317956361c79a69e03f2e231eecabab43fb4828c1e02",
    "2e4125888032d525ea7911decb974240d77d5946a00262bbabf6a765b28351c4",
];
const BUSYBOX: [&str; 2] = [
    "789355058656ec2ca0a856283e2597852ccd444548c9ef4fcbf8c9c24a73e169",
    "97d69bba9a9d8406055d0fdc38a7f00162823ee5ca3751fc71531cb210204ff9",
];

/// /var/lib/docker of the seed: names, graph, and an aufs store with a small file in each layer that has a size.
fn seed(root: &Path) {
    let repositories = json!({"Repositories": {"busybox": {"latest": BUSYBOX[0]}, "redis": {"latest": REDIS[0]}}});
    write_folder(root, &[("repositories-aufs".into(), repositories.to_string().into_bytes())]);
    for chain in [&REDIS[..], &BUSYBOX[..]] {
        for (index, id) in chain.iter().enumerate() {
            let mut layer = json!({"id": id, "created": "2017-12-12T07:15:58.901779813Z", "Size": 0,
                "container_config": {"Cmd": ["/bin/sh", "-c", format!("#(nop) LAYER {index}")]}});
            if let Some(parent) = chain.get(index + 1) {
                layer["parent"] = json!(parent);
            }
            let is_base = index + 1 == chain.len();
            let size = if is_base { 79_146_752 } else { 0 };
            let below: String = chain[index + 1..].iter().map(|id| format!("{id}\n")).collect();
            write_folder(
                root,
                &[
                    (format!("graph/{id}/json"), layer.to_string().into_bytes()),
                    (format!("graph/{id}/layersize"), size.to_string().into_bytes()),
                    (format!("aufs/layers/{id}"), below.into_bytes()),
                ],
            );
            fs::create_dir_all(root.join("aufs/diff").join(id)).unwrap();
            fs::create_dir_all(root.join("aufs/mnt").join(id)).unwrap();
        }
        let diff = |index: usize| root.join("aufs/diff").join(chain[index]);
        fs::write(diff(chain.len() - 1).join("base"), "of the base").unwrap();
        fs::write(diff(chain.len() - 1).join("hidden"), "hidden by the top").unwrap();
        fs::create_dir(diff(0).join(".wh..wh.plnk")).unwrap();
        fs::write(diff(0).join(".wh..wh.aufs"), "").unwrap();
        // aufs's whiteouts are names of one file.
        fs::hard_link(diff(0).join(".wh..wh.aufs"), diff(0).join(".wh.hidden")).unwrap();
    }
}

#[test]
fn the_seed_s_redis_is_walked_from_its_name_to_its_base() {
    let bed = Bed::new();
    seed(&bed.at("docker"));
    let output = bed.layerbench(&["stack", "import", "docker"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("busybox:latest, redis:latest"), "{}", text(&output.stderr));
    let said = bed.prints(&["stack", "import", "docker", "--image", "redis"]);
    assert!(said.contains("16 layers") && said.contains("graph/"), "{said}");
    let shown = bed.prints(&["stack", "show", "redis:latest"]);
    let mut rest = shown.as_str();
    for (index, id) in REDIS.iter().enumerate() {
        let line = format!("{:4}  {id}", index + 1);
        rest = rest.split_once(&line).unwrap_or_else(|| panic!("{line} in {shown}")).1;
    }
    assert!(shown.contains(&format!("redis:latest -> {}", REDIS[0])), "{shown}");
    assert!(rest.contains("base: no parent  (layersize 79146752)") && shown.contains("LAYER 0"), "{shown}");
    let stack = open(&bed, "redis");
    assert!(stack.file(Path::new("base")).is_some() && stack.file(Path::new("hidden")).is_none());
    let layers: Vec<String> =
        fs::read_to_string(stack.root().join("layers").join(REDIS[0])).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(layers, REDIS[1..]);

    // By the start of an id, and without the files that know names.
    bed.prints(&["stack", "import", "docker", "--image", &BUSYBOX[0][..12], "--name", "box:1"]);
    bed.prints(&["stack", "import", "docker/aufs", "--image", &REDIS[0][..12], "--name", "again:1"]);
    assert_eq!(bed.stacks().len(), 2, "the same layers are the same stack");

    let info = bed.prints(&["info", "--store", "docker", "--daemon-json", "none.json"]);
    for line in [
        "Storage Driver: aufs",
        " Root Dir: docker/aufs",
        " Backing Filesystem: ",
        " Dirs: 18",
        " Dirperm1 Supported: ",
    ] {
        assert!(info.contains(line), "{line} in {info}");
    }
    assert!(info.contains("redis:latest  16 layers") && info.contains("79146752 bytes  (base)"), "{info}");
    let dot = bed.prints(&["info", "--store", "docker", "--dot"]);
    for (above, below) in REDIS.iter().zip(&REDIS[1..]) {
        assert!(dot.contains(&format!("\"{above}\" -> \"{below}\";")), "{dot}");
    }
    assert!(dot.starts_with("digraph") && dot.contains(&format!("\"redis:latest\" -> \"{}\";", REDIS[0])), "{dot}");
    // clean leaves what no run makes again.
    assert!(bed.prints(&["clean"]).contains("kept imported image"));
    assert_eq!(bed.stacks().len(), 2);
    bed.prints(&["clean", "--images"]);
    assert_eq!(bed.stacks(), Vec::<String>::new());
}

#[test]
fn a_graph_that_contradicts_itself_is_refused() {
    let parent = |root: &Path, id: &str, parent: &str| {
        let place = root.join("graph").join(id).join("json");
        let mut layer: serde_json::Value = serde_json::from_str(&fs::read_to_string(&place).unwrap()).unwrap();
        layer["parent"] = json!(parent);
        fs::write(place, layer.to_string()).unwrap();
    };
    type Change<'a> = (&'a dyn Fn(&Path), &'a str);
    let changes: [Change; 6] = [
        (&|root| parent(root, REDIS[15], REDIS[0]), "no end"),
        (&|root| parent(root, REDIS[3], REDIS[5]), "does not list the parents"),
        (&|root| parent(root, REDIS[3], "../../../etc"), "not the id of a layer"),
        (&|root| fs::remove_dir_all(root.join("graph").join(REDIS[7])).unwrap(), REDIS[7]),
        (&|root| fs::remove_dir_all(root.join("aufs/diff").join(REDIS[7])).unwrap(), REDIS[7]),
        (&|root| fs::write(root.join("repositories-aufs"), "{").unwrap(), "repositories-aufs"),
    ];
    for (change, reason) in changes {
        let bed = Bed::new();
        seed(&bed.at("docker"));
        change(&bed.at("docker"));
        let output = bed.layerbench(&["stack", "import", "docker", "--image", "redis"]);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(reason) && !said.contains("panicked"), "{reason}: {said}");
        assert_eq!(bed.stacks(), Vec::<String>::new());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let status = Command::new("cp").arg("--archive").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// The image in the form of each store, made of the folders of a stack: names of sources.
fn stores(bed: &Bed, stack: &LayerStack, diff_ids: &[String]) -> Vec<&'static str> {
    let ids: Vec<String> = (0..3).map(|n| digits(&[n])).collect();
    let aufs = stack.lowers(LayerForm::Aufs).unwrap();
    let overlay = stack.lowers(LayerForm::Overlay).unwrap();
    let write = |name: String, content: String| write_folder(&bed.at(""), &[(name, content.into_bytes())]);
    for (index, id) in ids.iter().enumerate() {
        copy(&aufs[index], &bed.at(&format!("aufs/diff/{id}")));
        write(format!("aufs/layers/{id}"), ids[index + 1..].iter().map(|id| format!("{id}\n")).collect());
        fs::create_dir_all(bed.at(&format!("aufs/mnt/{id}"))).unwrap();
        for folder in ["overlay2", "storage/overlay"] {
            copy(&overlay[index], &bed.at(&format!("{folder}/{id}/diff")));
        }
        write(format!("overlay2/{id}/link"), format!("LINK{index}"));
        fs::create_dir_all(bed.at("overlay2/l")).unwrap();
        std::os::unix::fs::symlink(format!("../{id}/diff"), bed.at(&format!("overlay2/l/LINK{index}"))).unwrap();
        if index < 2 {
            let lower: Vec<String> = (index + 1..3).map(|n| format!("l/LINK{n}")).collect();
            write(format!("overlay2/{id}/lower"), lower.join(":"));
        }
    }
    let storage: Vec<_> = (0..3)
        .map(|n| json!({"id": ids[n], "parent": ids.get(n + 1), "diff-digest": format!("sha256:{}", diff_ids[n]), "diff-size": 7}))
        .collect();
    write("storage/overlay-layers/layers.json".into(), json!(storage).to_string());
    let image = json!([{"id": digits(b"image"), "names": ["localhost/redis:1"], "layer": ids[0]}]);
    write("storage/overlay-images/images.json".into(), image.to_string());

    // Docker's whole folder, around the layers of overlay2.
    copy(&bed.at("overlay2"), &bed.at("docker/overlay2"));
    let base_first: Vec<String> = diff_ids.iter().rev().cloned().collect();
    let config = config(&base_first);
    let image = digits(&config);
    write_folder(&bed.at("docker/image/overlay2"), &[(format!("imagedb/content/sha256/{image}"), config)]);
    let names = json!({"Repositories": {"redis": {"redis:latest": format!("sha256:{image}"),
        format!("redis@sha256:{image}"): format!("sha256:{image}")}}});
    write("docker/image/overlay2/repositories.json".into(), names.to_string());
    let mut chain = String::new();
    for (diff_id, id) in base_first.iter().zip(ids.iter().rev()) {
        let text = format!("sha256:{chain} sha256:{diff_id}");
        chain = if chain.is_empty() { diff_id.clone() } else { digits(text.as_bytes()) };
        write(format!("docker/image/overlay2/layerdb/sha256/{chain}/cache-id"), id.clone());
        write(format!("docker/image/overlay2/layerdb/sha256/{chain}/size"), "12".into());
    }
    vec!["aufs", "overlay2", "storage", "docker"]
}

#[test]
fn every_store_gives_the_tree_that_tar_makes_of_the_layers() {
    if !inside(true) {
        return;
    }
    let bed = Bed::new();
    let layers = layers(false);
    write_folder(&bed.at("oci"), &oci_files(None, &packed(&layers, [Packed::Plain; 3])));
    bed.prints(&["stack", "import", "oci"]);
    tree::apply_with_tar(&layers, &bed.at("reference"), bed.folder.path(), false);
    let diff_ids: Vec<String> = layers.iter().rev().map(|layer| digits(layer)).collect();
    for source in stores(&bed, &open(&bed, "oci"), &diff_ids) {
        let name = format!("{source}:copy");
        let output =
            bed.layerbench(&["stack", "import", source, "--name", &name, "--store", &format!("store-{source}")]);
        assert!(output.status.success() && output.stderr.is_empty(), "{source}: {}", text(&output.stderr));
        let folder = layerbench::stack::named(&bed.at(&format!("store-{source}")), &name).unwrap().unwrap();
        let stack = LayerStack::open(&folder).unwrap();
        assert_eq!(stack.depth(), 3, "{source}");
        let drivers_bed = Bed::new();
        compare(&drivers_bed, &stack, "overlay2", &bed.at("reference"), false);
        let info = bed.prints(&["info", "--store", source]);
        assert!(info.contains("3 layers") && info.contains("(base)"), "{info}");
    }
}
