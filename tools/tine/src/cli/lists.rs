//! The commands that list what there is.

use crate::build::programs;
use crate::machine::config::Config;
use crate::report;
use crate::workspace::Workspace;
use anyhow::Result;
use comfy_table::Table;

fn print(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table: Table = report::table();
    table.set_header(header);
    table.add_rows(rows);
    println!("{}", table.trim_fmt());
}

/// The machines of `qemu-configs/`.
pub fn configs() -> Result<()> {
    let directory = Workspace::find()?.configs();
    let mut rows = Vec::new();
    for name in Config::names(&directory)? {
        let it = Config::load(&directory, &name)?;
        rows.push(vec![name, it.cpus.to_string(), it.memory_mib.to_string(), it.hz.to_string(), it.summary]);
    }
    print(&["name", "CPUs", "MiB", "Hz", "summary"], rows);
    Ok(())
}

/// The programs of `userland/`.
pub fn programs() -> Result<()> {
    let programs = programs::list(&Workspace::find()?)?;
    print(&["name", "summary"], programs.into_iter().map(|program| vec![program.name, program.summary]));
    Ok(())
}

/// The balancers and orders that are compiled in.
pub fn policies() {
    let row = |name: &str, summary: &str| vec![name.to_owned(), summary.to_owned()];
    println!("Balancers (--balancer): which CPU a thread runs on\n");
    print(&["name", "summary"], sched::balance::balancers().iter().map(|it| row(it.name, it.summary)));
    println!("\nOrders (--order): which thread of a CPU runs next\n");
    print(&["name", "summary"], sched::order::orders().iter().map(|it| row(it.name, it.summary)));
}
