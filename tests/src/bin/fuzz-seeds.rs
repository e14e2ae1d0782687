//! Writes the seed corpora of the fuzz targets below the folder given as argument.

use daxfs_tests::field::fields;
use daxfs_tests::patch::{LogTemplate, Template};
use daxfs_tests::script;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("usage: fuzz-seeds FOLDER"));
    };
    let folder = Path::new(&folder);
    write(&folder.join("mount_walk"), &mount_walk())?;
    write(&folder.join("log_replay"), &LogTemplate::seeds())?;
    write(&folder.join("coordination"), &script::seeds())?;
    let options: [&[u8]; 3] = [
        b"phys=0x100000000,size=256M,rw,branch=guest,parent=main,validate,keep",
        b"ro,exclusive,name=a",
        b" ,, size=1G",
    ];
    write(&folder.join("mount_options"), &options.map(<[u8]>::to_vec))
}

/// Every template as it is, and with a patch of each field.
fn mount_walk() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, template) in (0..).zip(Template::all()) {
        seeds.push(vec![number]);
        // The upper half of the numbers is for mounts that write.
        seeds.push(vec![number | 0x80]);
        for field in fields(&template.image) {
            let value = template.image.number(field.at, field.width);
            if let Some(patch) = template.patch(&field, value.wrapping_add(1)) {
                seeds.push([&[number][..], &patch].concat());
            }
        }
    }
    seeds
}

fn write(folder: &Path, seeds: &[Vec<u8>]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:04}")), seed)?;
    }
    Ok(())
}
