//! What can be checked of `buildroot-ext/` without a Buildroot: the style that `utils/check-package` asks for, the
//! symbols, and that everything it shares with the rest of the tree is the same. `buildroot-ext/check.sh` does the
//! rest against a checkout.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bascule_image::host;
use bascule_image::parts;

/// Every symbol of the defconfigs, with the file of Buildroot that has it. A symbol that is missing here is a new
/// one: look it up in a Buildroot (`check.sh`) before it is added.
const SYMBOLS: [(&str, &str); 30] = [
    ("BR2_x86_64", "arch/Config.in"),
    ("BR2_aarch64", "arch/Config.in"),
    ("BR2_TOOLCHAIN_BUILDROOT_MUSL", "toolchain/toolchain-buildroot/Config.in"),
    ("BR2_PACKAGE_HOST_LINUX_HEADERS_CUSTOM_6_1", "package/linux-headers/Config.in.host"),
    ("BR2_TOOLCHAIN_BUILDROOT_CXX", "package/gcc/Config.in.host"),
    ("BR2_STATIC_LIBS", "Config.in"),
    ("BR2_GLOBAL_PATCH_DIR", "Config.in"),
    ("BR2_DOWNLOAD_FORCE_CHECK_HASHES", "Config.in"),
    ("BR2_REPRODUCIBLE", "Config.in"),
    ("BR2_INIT_NONE", "system/Config.in"),
    ("BR2_SYSTEM_BIN_SH_NONE", "system/Config.in"),
    ("BR2_ROOTFS_POST_BUILD_SCRIPT", "system/Config.in"),
    ("BR2_ROOTFS_POST_IMAGE_SCRIPT", "system/Config.in"),
    ("BR2_ROOTFS_POST_SCRIPT_ARGS", "system/Config.in"),
    ("BR2_LINUX_KERNEL", "linux/Config.in"),
    ("BR2_LINUX_KERNEL_CUSTOM_VERSION", "linux/Config.in"),
    ("BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE", "linux/Config.in"),
    ("BR2_LINUX_KERNEL_USE_CUSTOM_CONFIG", "linux/Config.in"),
    ("BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE", "linux/Config.in"),
    ("BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES", "linux/Config.in"),
    ("BR2_LINUX_KERNEL_ZSTD", "linux/Config.in"),
    ("BR2_LINUX_KERNEL_NEEDS_HOST_LIBELF", "linux/Config.in"),
    ("BR2_PACKAGE_BUSYBOX", "package/busybox/Config.in"),
    ("BR2_TARGET_ROOTFS_TAR", "fs/tar/Config.in"),
    ("BR2_TARGET_GRUB2", "boot/grub2/Config.in"),
    ("BR2_TARGET_GRUB2_I386_PC", "boot/grub2/Config.in"),
    ("BR2_TARGET_GRUB2_X86_64_EFI", "boot/grub2/Config.in"),
    ("BR2_PACKAGE_HOST_E2FSPROGS", "package/e2fsprogs/Config.in.host"),
    ("BR2_PACKAGE_HOST_GENIMAGE", "package/genimage/Config.in.host"),
    ("BR2_PACKAGE_HOST_ZSTD", "package/zstd/Config.in.host"),
];
/// The one symbol that is ours.
const OURS: &str = "BR2_PACKAGE_BASCULE";
/// What Buildroot's cargo infrastructure sets for a release build (package/pkg-cargo.mk) and the profile of this
/// tree has otherwise, or may have one day.
const OVERRIDDEN: [&str; 5] = ["OPT_LEVEL", "LTO", "CODEGEN_UNITS", "DEBUG_ASSERTIONS", "OVERFLOW_CHECKS"];
const BOARDS: [&str; 2] = ["x86_64", "aarch64"];

fn top() -> PathBuf {
    host::root().join("buildroot-ext")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = top().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files of the tree, links left out.
fn files() -> Vec<PathBuf> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(&entry.path(), into);
            } else if kind.is_file() {
                into.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(&top(), &mut found);
    found.sort();
    found
}

/// `NAME=VALUE` lines of a defconfig; what is not set is `n`.
fn defconfig(board: &str) -> Vec<(String, String)> {
    let text = read(format!("configs/bascule_{board}_defconfig"));
    text.lines()
        .map(|line| match line.strip_prefix("# ").and_then(|line| line.strip_suffix(" is not set")) {
            Some(name) => (name.to_owned(), "n".to_owned()),
            None => {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{board}: {line:?}"));
                (name.to_owned(), value.trim_matches('"').to_owned())
            }
        })
        .collect()
}

/// The path of a value as Buildroot would expand it.
fn expand(value: &str) -> PathBuf {
    PathBuf::from(value.replace("$(BR2_EXTERNAL_BASCULE_PATH)", top().to_str().unwrap()))
}

#[test]
fn everything_that_makes_an_external_tree_is_there() {
    let desc = read("external.desc");
    // The name gives BR2_EXTERNAL_BASCULE_PATH.
    assert!(desc.lines().any(|line| line == "name: BASCULE"), "{desc}");
    assert!(read("external.mk").contains("$(sort $(wildcard $(BR2_EXTERNAL_BASCULE_PATH)/package/*/*.mk))"));
    for dir in fs::read_dir(top().join("package")).unwrap().map(|entry| entry.unwrap().file_name()) {
        let name = dir.to_str().unwrap();
        let source = format!("source \"$BR2_EXTERNAL_BASCULE_PATH/package/{name}/Config.in\"");
        assert!(read("Config.in").lines().any(|line| line == source), "{name}");
        assert!(top().join(format!("package/{name}/{name}.mk")).is_file(), "{name}");
    }
    for script in ["check.sh", "board/post-build.sh", "board/post-image.sh"] {
        let mode = fs::metadata(top().join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
        assert!(read(script).starts_with("#!/bin/sh\n"), "{script}");
    }
}

#[test]
fn every_file_is_plain_text_without_stray_blanks() {
    for path in files() {
        let name = path.display();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.is_ascii(), "{name}: not ASCII");
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{name}: one newline at the end");
        assert!(!text.contains("\n\n\n"), "{name}: two empty lines");
        for (number, line) in text.lines().enumerate() {
            assert_eq!(line.trim_end(), line, "{name}:{}: blanks at the end", number + 1);
        }
        let executable = fs::metadata(&path).unwrap().permissions().mode() & 0o111 != 0;
        let script = path.extension().is_some_and(|ext| ext == "sh");
        assert_eq!(executable, script, "{name}: only scripts are executable");
    }
}

#[test]
fn config_files_are_indented_as_buildroot_wants_it() {
    for path in files().iter().filter(|path| path.file_name().unwrap() == "Config.in") {
        let text = fs::read_to_string(path).unwrap();
        let mut help = false;
        let mut continued = false;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}: {line:?}", path.display(), number + 1);
            let first = line.split_whitespace().next().unwrap_or("");
            match first {
                "" => {}
                _ if continued => assert!(line.starts_with("\t\t"), "{place}"),
                "config" | "menuconfig" | "comment" | "source" | "if" | "endif" => {
                    help = false;
                    assert!(line.starts_with(first), "{place}");
                }
                _ if help => {
                    let text = line.strip_prefix("\t  ").unwrap_or_else(|| panic!("{place}"));
                    assert!(text.len() <= 62, "{place}: {} columns", text.len());
                }
                "bool" | "default" | "depends" | "select" | "help" => {
                    assert!(line.starts_with(&format!("\t{first}")), "{place}");
                    help = first == "help";
                }
                _ => panic!("{place}: unknown"),
            }
            continued = line.ends_with('\\');
        }
    }
}

#[test]
fn the_attributes_of_a_symbol_stand_in_the_usual_order() {
    let rank = |word: &str| ["bool", "default", "depends", "select", "help"].iter().position(|w| *w == word);
    for symbol in read("package/bascule/Config.in").split("\nconfig ") {
        let body = symbol.lines().skip(1).take_while(|line| !line.is_empty());
        let ranks: Vec<usize> = body
            .filter(|line| !line.starts_with("\t  "))
            .filter_map(|line| rank(line.split_whitespace().next()?))
            .collect();
        assert!(ranks.is_sorted(), "{symbol}");
    }
}

#[test]
fn make_files_have_the_header_tabs_and_names_that_buildroot_wants() {
    for path in files().iter().filter(|path| path.extension().is_some_and(|ext| ext == "mk")) {
        let text = fs::read_to_string(path).unwrap();
        if path.file_name().unwrap() == "external.mk" {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let bar = "#".repeat(80);
        assert!(text.starts_with(&format!("{bar}\n#\n# {name}\n#\n{bar}\n\n")), "{}", path.display());
        let (mut define, mut continued) = (false, false);
        for (number, line) in text.lines().enumerate().skip(6) {
            let place = format!("{}:{}: {line:?}", path.display(), number + 1);
            assert!(!line.contains("${"), "{place}: $() and not ${{}}");
            assert!(
                !line.ends_with("  \\") && !line.ends_with("\t\\"),
                "{place}: one space before the backslash"
            );
            if line.starts_with("define ") || line == "endef" {
                define = line != "endef";
            } else if !line.is_empty() && !line.starts_with('#') {
                assert_eq!(line.starts_with('\t'), define || continued, "{place}");
                let own = line.split([' ', '=', '+']).next().unwrap();
                let variable = !define && !continued && !line.starts_with('$');
                let upper = name.to_uppercase();
                assert!(
                    !variable
                        || own.starts_with(&format!("{upper}_"))
                        || own.starts_with(&format!("HOST_{upper}_")),
                    "{place}: a variable of another package"
                );
            }
            continued = line.ends_with('\\');
        }
    }
}

#[test]
fn every_symbol_of_a_defconfig_is_known_and_there_once() {
    for board in BOARDS {
        let symbols: Vec<String> = defconfig(board).into_iter().map(|(name, _)| name).collect();
        for symbol in &symbols {
            let known = symbol == OURS || SYMBOLS.iter().any(|(name, _)| name == symbol);
            assert!(known, "{board}: {symbol} is in no list of Buildroot's symbols");
            assert_eq!(symbols.iter().filter(|other| *other == symbol).count(), 1, "{board}: {symbol}");
        }
        for needed in [
            OURS,
            // Rust's unwinder is built for musl, with a C++ compiler.
            "BR2_TOOLCHAIN_BUILDROOT_CXX",
            "BR2_TOOLCHAIN_BUILDROOT_MUSL",
            // check-package refuses a defconfig without it.
            "BR2_DOWNLOAD_FORCE_CHECK_HASHES",
        ] {
            assert!(symbols.iter().any(|symbol| symbol == needed), "{board}: {needed}");
        }
    }
    for (symbol, _) in SYMBOLS {
        let used = BOARDS.iter().any(|board| defconfig(board).iter().any(|(name, _)| name == symbol));
        assert!(used, "{symbol} is used no more");
    }
}

#[test]
fn the_defconfigs_name_files_that_are_there_and_share_the_kernel_options_of_board() {
    for board in BOARDS {
        let values: BTreeMap<String, String> = defconfig(board).into_iter().collect();
        let named = values.values().filter(|value| value.contains("$(BR2_EXTERNAL_BASCULE_PATH)"));
        for value in named {
            assert!(expand(value).exists(), "{board}: {value}");
        }
        let same = |symbol: &str, path: PathBuf| {
            let found = fs::canonicalize(expand(&values[symbol])).unwrap();
            assert_eq!(found, fs::canonicalize(path).unwrap(), "{board}: {symbol}");
        };
        let root = host::root();
        same("BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE", root.join("board/linux.config"));
        same("BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES", root.join("board").join(board).join("linux.config"));
        assert_eq!(values["BR2_ROOTFS_POST_SCRIPT_ARGS"], board);
        assert_eq!(values[&format!("BR2_{board}")], "y");
    }
}

#[test]
fn the_kernels_archive_has_a_hash_and_both_boards_have_the_same_kernel() {
    let hashes = read("patches/linux/linux.hash");
    for line in hashes.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let fields: Vec<&str> = line.split("  ").collect();
        let [kind, hash, _] = fields[..] else { panic!("two spaces between the fields: {line}") };
        assert!(
            kind == "sha256" && hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
            "{line}"
        );
    }
    for board in BOARDS {
        let values: BTreeMap<String, String> = defconfig(board).into_iter().collect();
        let version = &values["BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE"];
        assert!(hashes.contains(&format!("  linux-{version}.tar.xz\n")), "{board}: {version}");
        let series: Vec<&str> = version.split('.').collect();
        let headers = format!("BR2_PACKAGE_HOST_LINUX_HEADERS_CUSTOM_{}_{}", series[0], series[1]);
        assert!(values.contains_key(&headers), "{board}: {headers}");
    }
    let link = fs::read_link(top().join("patches/linux-headers/linux-headers.hash")).unwrap();
    assert_eq!(link, Path::new("../linux/linux.hash"));
}

#[test]
fn the_package_restores_every_value_of_the_release_profile() {
    let manifest = fs::read_to_string(host::root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let profile = manifest["profile"]["release"].as_table().unwrap();
    let mk = read("package/bascule/bascule.mk");
    let set = |name: &str| {
        let begin = format!("\tCARGO_PROFILE_RELEASE_{name}=\"");
        let line = mk.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_else(|| panic!("{name}"));
        line.split('"').next().unwrap().to_owned()
    };
    for (key, value) in profile {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(set(&key.replace('-', "_").to_uppercase()), value, "{key}");
    }
    for name in OVERRIDDEN {
        let of_cargo = match name {
            "OPT_LEVEL" => "3",
            "DEBUG_ASSERTIONS" => "false",
            _ => continue,
        };
        if !profile.contains_key(&name.replace('_', "-").to_lowercase()) {
            assert_eq!(set(name), of_cargo, "cargo's own value of {name}");
        }
    }
    for name in OVERRIDDEN {
        let _ = set(name);
    }
}

#[test]
fn the_package_is_a_member_of_this_workspace_and_leaves_out_what_was_built() {
    let mk = read("package/bascule/bascule.mk");
    let value = |name: &str| {
        let begin = format!("{name} = ");
        mk.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_else(|| panic!("{name}"))
    };
    let manifest: toml::Table =
        toml::from_str(&fs::read_to_string(host::root().join("Cargo.toml")).unwrap()).unwrap();
    // With a package at the root the two directories would be for nothing.
    assert!(!manifest.contains_key("package"));
    let members: Vec<&str> =
        manifest["workspace"]["members"].as_array().unwrap().iter().filter_map(|m| m.as_str()).collect();
    assert!(members.contains(&value("BASCULE_SUBDIR")) && members.contains(&value("HOST_BASCULE_SUBDIR")));
    assert_eq!(value("BASCULE_VERSION"), manifest["workspace"]["package"]["version"].as_str().unwrap());
    assert_eq!(value("BASCULE_SITE_METHOD"), "local");
    for dir in ["/target", "/out"] {
        assert!(mk.contains(&format!("--exclude {dir} ")), "{dir}");
    }
    for file in value("BASCULE_LICENSE_FILES").split(' ') {
        assert!(host::root().join(file).is_file(), "{file}");
    }
    assert!(mk.ends_with("$(eval $(cargo-package))\n$(eval $(host-cargo-package))\n"));
}

#[test]
fn the_kernel_options_that_the_package_asks_for_are_those_of_board() {
    let config = fs::read_to_string(host::root().join("board/linux.config")).unwrap();
    let mk = read("package/bascule/bascule.mk");
    let asked: Vec<&str> =
        mk.lines().filter_map(|line| line.split_once("KCONFIG_ENABLE_OPT,")?.1.strip_suffix(')')).collect();
    assert!(asked.len() > 10, "{asked:?}");
    for option in asked {
        assert!(config.lines().any(|line| line == format!("{option}=y")), "{option}");
    }
}

#[test]
fn the_hook_calls_the_tool_with_arguments_that_it_has() {
    let script = read("board/post-image.sh");
    let (_, call) = script.split_once("bascule-image parts \\\n").unwrap();
    let command = <parts::Args as clap::Args>::augment_args(clap::Command::new("parts"));
    let mut used = 0;
    for word in call.lines().take_while(|line| line.starts_with('\t')).map(|line| line.trim()) {
        let long = word.split(' ').next().unwrap().trim_start_matches("--");
        let known = command.get_arguments().any(|argument| argument.get_long() == Some(long));
        assert!(known, "parts has no --{long}");
        used += 1;
    }
    let required = command.get_arguments().filter(|argument| argument.is_required_set()).count();
    assert!(used >= required && required > 0, "{used} of {required}");
    for name in ["BASCULE_TOOLS=provided", "BASCULE_GRUB=", "GIT_DIR=", "GIT_WORK_TREE="] {
        assert!(script.contains(name), "{name}");
    }
}
