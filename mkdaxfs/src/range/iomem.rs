//! `/proc/iomem`: what this kernel does with physical addresses.

/// What a kernel calls its own memory.
const RAM: &str = "System RAM";
/// Resources that are only places where memory may be: nobody's, if nothing inside has them.
const PLACES: [&str; 6] =
    ["Reserved", "Soft Reserved", "Persistent Memory", "PCI Bus", "CXL Window", "RAM buffer"];

/// What a processor answers itself, which a kernel need not list.
const PROCESSOR: &[(u64, u64, &str)] =
    if cfg!(target_arch = "x86_64") { &[(0xfee0_0000, 0xfeef_ffff, "Local APIC")] } else { &[] };

/// A range of addresses that has a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resource {
    pub(super) start: u64,
    /// The last address of it.
    pub(super) end: u64,
    pub(super) name: String,
}

impl Resource {
    /// `  00100000-3fffffff : System RAM`; what is inside of another one is further to the right.
    fn parse(line: &str) -> Option<Self> {
        let (range, name) = line.trim().split_once(" : ")?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self { start: number(start)?, end: number(end)?, name: name.to_owned() })
    }

    fn is_place(&self) -> bool {
        PLACES.iter().any(|place| self.name.starts_with(place))
    }
}

/// What is in the way of a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Conflict {
    /// It is memory that the kernel uses.
    Ram(Resource),
    /// Something has it.
    Claimed(Resource),
    /// Addresses are hidden from this process.
    Hidden,
}

/// What is in the way of the `size` bytes at `start`, according to the text of `/proc/iomem`.
pub(super) fn conflict(text: &str, start: u64, size: u64) -> Option<Conflict> {
    let resources: Vec<Resource> = text.lines().filter_map(Resource::parse).collect();
    if resources.iter().all(|resource| resource.end == 0) {
        return Some(Conflict::Hidden);
    }
    let own =
        PROCESSOR.iter().map(|&(start, end, name)| Resource { start, end, name: name.into() });
    let last = start.saturating_add(size.saturating_sub(1));
    let overlapping: Vec<Resource> = resources
        .into_iter()
        .chain(own)
        .filter(|resource| resource.start <= last && resource.end >= start)
        .collect();
    let is_ram = |resource: &&Resource| resource.name.starts_with(RAM);
    if let Some(ram) = overlapping.iter().find(is_ram) {
        return Some(Conflict::Ram(ram.clone()));
    }
    overlapping.into_iter().find(|resource| !resource.is_place()).map(Conflict::Claimed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-37ffffff : System RAM
  01000000-01ffffff : Kernel code
38000000-3bffffff : Reserved
3c000000-3fffffff : System RAM
c0000000-febfffff : PCI Bus 0000:00
  fd000000-fdffffff : 0000:00:01.0
fec00000-fec003ff : IOAPIC 0
100000000-17fffffff : Persistent Memory (legacy)
  100000000-13fffffff : namespace0.0
";

    fn name(start: u64, size: u64) -> Option<(bool, String)> {
        match conflict(MAP, start, size)? {
            Conflict::Ram(resource) => Some((true, resource.name)),
            Conflict::Claimed(resource) => Some((false, resource.name)),
            Conflict::Hidden => panic!("hidden"),
        }
    }

    #[test]
    fn memory_of_the_kernel_is_found_from_its_first_to_its_last_byte() {
        let ram = Some((true, "System RAM".to_owned()));
        for (start, size) in [(0x1000, 0x1000), (0x37ff_f000, 0x1000), (0, u64::MAX), (0, 0x1001)] {
            assert_eq!(name(start, size), ram, "{start:#x}");
        }
        assert_eq!(name(0x3800_0000, 0x400_0000), None);
        assert_eq!(name(0x3800_0000, 0x400_0001), ram);
    }

    #[test]
    fn what_a_device_has_is_told_from_a_place_where_nothing_is() {
        assert_eq!(name(0x2_0000_0000, 0x1000), None);
        assert_eq!(name(0xc000_0000, 0x1000), None);
        assert_eq!(name(0x1_4000_0000, 0x1000), None);
        assert_eq!(name(0xfd00_0000, 0x1000), Some((false, "0000:00:01.0".to_owned())));
        assert_eq!(name(0xfec0_0000, 0x1000), Some((false, "IOAPIC 0".to_owned())));
        assert_eq!(name(0x1_0000_0000, 0x1000), Some((false, "namespace0.0".to_owned())));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_interrupt_controller_in_the_processor_is_known_without_being_listed() {
        assert_eq!(name(0xfee0_0000, 0x1000), Some((false, "Local APIC".to_owned())));
        assert_eq!(name(0xfed0_0000, 0x100_0000), Some((false, "Local APIC".to_owned())));
    }

    #[test]
    fn addresses_that_are_hidden_say_nothing() {
        let hidden = "00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n";
        assert_eq!(conflict(hidden, 0x1000, 0x1000), Some(Conflict::Hidden));
        assert_eq!(conflict("", 0x1000, 0x1000), Some(Conflict::Hidden));
    }
}
