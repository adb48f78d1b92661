//! Where programs come from that people run on a kernel to see what it does.

/// A program, and the package of Debian and Ubuntu that has it.
const PACKAGES: [(&str, &str); 26] = [
    ("bash", "bash"),
    ("busybox", "busybox-static"),
    ("cyclictest", "rt-tests"),
    ("dash", "dash"),
    ("fio", "fio"),
    ("free", "procps"),
    ("gcc", "gcc"),
    ("go", "golang-go"),
    ("hackbench", "rt-tests"),
    ("htop", "htop"),
    ("iperf3", "iperf3"),
    ("ltrace", "ltrace"),
    ("make", "make"),
    ("mpstat", "sysstat"),
    ("perl", "perl"),
    ("pi_stress", "rt-tests"),
    ("ps", "procps"),
    ("python3", "python3-minimal"),
    ("signaltest", "rt-tests"),
    ("strace", "strace"),
    ("stress", "stress"),
    ("stress-ng", "stress-ng"),
    ("sysbench", "sysbench"),
    ("taskset", "util-linux"),
    ("top", "procps"),
    ("vmstat", "procps"),
];

/// What to do about a program that the host does not have.
pub fn advice(program: &str) -> String {
    if program == "schbench" {
        let source = "https://git.kernel.org/pub/scm/linux/kernel/git/mason/schbench.git";
        return format!("Distributions have no package of it: build it from {source}, and give its path.");
    }
    match PACKAGES.iter().find(|(name, _)| *name == program) {
        Some((_, package)) => {
            format!("It is in the package `{package}`. Debian, Ubuntu: `apt-get install {package}`.")
        }
        None => {
            "Give its path, or install the package that has it; Debian, Ubuntu: `apt-file search`.".to_owned()
        }
    }
}
