//! The page: one file, no script, nothing fetched.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::document::{Document, Table};
use super::verdict::Finding;

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#222;--paper:#fff;--faint:#ddd;--soft:#f4f6f8;--link:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181b;--faint:#3a3f45;--soft:#1f2327;--link:#56b4e9}}
body{font:16px/1.55 Helvetica,Arial,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:1000px;padding:0 20px 60px}
h1{font-size:1.9rem;line-height:1.2;margin:2rem 0 .3rem}h2{font-size:1.35rem;margin:2.6rem 0 .6rem;border-bottom:1px solid var(--faint);padding-bottom:.25rem}
h3{font-size:1.08rem;margin:1.6rem 0 .3rem}a{color:var(--link)}.sub{color:gray;margin:0 0 1rem}
.short{background:var(--soft);border-left:4px solid var(--link);padding:.7rem 1rem;margin:1.2rem 0}.short li{margin:.4rem 0}
.warn{background:#fff3cd;color:#5b4300;border-left:4px solid #e69f00;padding:.6rem 1rem;margin:.6rem 0}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;margin:.6rem 0}th,td{border:1px solid var(--faint);padding:.32rem .55rem;text-align:left;vertical-align:top}
th{background:var(--soft)}figure{margin:1rem 0 2.2rem}figure svg{max-width:100%;height:auto;background:#fff;border:1px solid var(--faint)}
figcaption{margin-top:.4rem}.v{font-weight:bold;white-space:nowrap}.supported{color:#007a58}.refuted{color:#c24e00}code{background:var(--soft);padding:.1rem .3rem}
@media(prefers-color-scheme:dark){.supported{color:#3fc79a}.refuted{color:#ff9a4d}}
@media print{body{max-width:none}figure{break-inside:avoid}}
";

pub(super) fn page(document: &Document) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (document.title) " – layerbench" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (document.title) }
                p.sub { (document.subtitle) }
                @for warning in &document.warnings { p.warn { (warning) } }
                section.short {
                    strong { "In short" }
                    ul { @for sentence in &document.short { li { (sentence) } } }
                }
                @if !document.key_figures.rows.is_empty() {
                    h2 { "Key figures" }
                    (table(&document.key_figures))
                    p.sub { (document.key_note) }
                }
                h2 { "What was claimed, and what was found" }
                p { "The claims are those of Docker's page on the aufs storage driver. A finding holds for this machine and these points." }
                @for verdict in &document.verdicts {
                    h3 { "“" (verdict.claim) "”" }
                    p.sub { (verdict.test) }
                    div.scroll { table {
                        @for (driver, finding, words) in &verdict.findings {
                            tr {
                                th { (driver) }
                                td class=(class(*finding)) { (finding.words()) }
                                td { (words) }
                            }
                        }
                    } }
                }
                h2 { "Figures" }
                @for figure in &document.figures {
                    figure id=(figure.name) {
                        (PreEscaped(&figure.svg))
                        figcaption {
                            (figure.sentences[0]) " " (figure.sentences[1]) " "
                            a href={ "charts/" (figure.name) ".csv" } { "CSV" } " · "
                            a href={ "charts/" (figure.name) ".svg" } { "SVG" }
                        }
                    }
                }
                @if !document.not_drawn.is_empty() {
                    h3 { "Not measured" }
                    ul { @for line in &document.not_drawn { li { (line) } } }
                }
                @if !document.skipped.rows.is_empty() {
                    h2 { "What was not here" }
                    (table(&document.skipped))
                }
                @if !document.failed.rows.is_empty() {
                    h2 { "What failed" }
                    (table(&document.failed))
                }
                @if !document.notes.is_empty() {
                    h2 { "Notes of the cases" }
                    ul { @for note in &document.notes { li { (note) } } }
                }
                h2 { "How it was measured" }
                @for (title, why) in &document.studies { p { strong { (title) ". " } (why) } }
                p {
                    "Each case ran in a process and a mount of its own, in random order, round after round; every result was verified after the \
                     clock had stopped. Medians have 95 % intervals from a bootstrap that resamples rounds first and samples second; a ratio whose \
                     interval includes 1 is called no difference. Every sample is in "
                    code { "cases.jsonl" } " of the run; this page is made from it by " code { (document.regenerate) } "."
                }
                (table(&document.machine))
            }
        }
    }
    .into_string()
}

fn class(finding: Finding) -> &'static str {
    match finding {
        Finding::Supported => "v supported",
        Finding::Refuted => "v refuted",
        Finding::NotMeasured => "v",
    }
}

fn table(table: &Table) -> Markup {
    html! {
        div.scroll { table {
            @if !table.head.is_empty() { thead { tr { @for name in &table.head { th { (name) } } } } }
            tbody {
                @for row in &table.rows {
                    tr { @for (index, field) in row.iter().enumerate() {
                        @if index == 0 { th { (field) } } @else { td { (field) } }
                    } }
                }
            }
        } }
    }
}
