//! Writes the report of a made-up run, to look at: `cargo run --example synthetic_report -- OUT [plain|stores|many|smoke|tiny|zeros|none]`.

use std::path::Path;

use layerbench::report::render;

#[path = "../tests/report/synthetic.rs"]
mod synthetic;

use synthetic::Spec;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("usage: synthetic_report OUT [plain|stores|many|smoke|tiny|zeros|none]")?;
    let spec = match arguments.next().as_deref().unwrap_or("plain") {
        "plain" => Spec::default(),
        "stores" => Spec { stores: vec!["ssd".into(), "hdd".into()], ..Spec::default() },
        "many" => {
            let mut spec = Spec::default();
            let more = (1..=6).map(|i| {
                (format!("driver number {i} with a label that is far too long for any legend"), format!("x{i}"))
            });
            spec.drivers.extend(more);
            spec
        }
        "smoke" => Spec { smoke: true, ..Spec::default() },
        "tiny" => Spec {
            depth: vec![1],
            file_size_bytes: vec![4096],
            cache: Spec::default().cache[..1].to_vec(),
            containers: vec![1],
            files: 1,
            blocks: 1,
            ..Spec::default()
        },
        "zeros" => Spec { zeros: true, ..Spec::default() },
        "none" => {
            Spec { missing: Spec::default().drivers.into_iter().map(|(_, driver)| driver).collect(), ..Spec::default() }
        }
        other => return Err(format!("unknown kind of run {other:?}").into()),
    };
    let rendered = render(&synthetic::run(&spec), Path::new(&out))?;
    println!("{}", rendered.html.display());
    Ok(())
}
