//! Which proxies a call has come through (`x-portunus-hops`): a call that comes back to one of them goes round for ever.

use fields::Fields;
use rand::Rng as _;

const NAME: &str = "x-portunus-hops";
/// More proxies than any route has on purpose.
const MOST: usize = 16;

/// This proxy among those that a call passes: nobody else's, and told to nobody but instances.
#[derive(Clone, Debug)]
pub struct HopId(String);

impl HopId {
    /// One that no other proxy has.
    pub fn new() -> Self {
        Self(format!("{:016x}", rand::rng().random::<u64>()))
    }

    /// Whether a call has been here already, or has come through more proxies than is sane.
    pub fn has_seen(&self, fields: &Fields) -> bool {
        let mut count = 0;
        passed(fields).any(|hop| {
            count += 1;
            hop == self.0.as_bytes() || count > MOST
        })
    }

    /// Adds this proxy to those that a call has passed.
    pub fn sign(&self, fields: &mut Fields) {
        if !fields.contains(NAME) {
            return fields.push(NAME, self.0.as_bytes());
        }
        let mut all = Vec::new();
        for hop in passed(fields) {
            all.extend_from_slice(hop);
            all.push(b',');
        }
        all.extend_from_slice(self.0.as_bytes());
        fields.set(NAME, &all);
    }
}

impl Default for HopId {
    fn default() -> Self {
        Self::new()
    }
}

fn passed(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields.get_all(NAME).flat_map(|value| value.split(|octet| *octet == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use fields::Fields;

    use super::{HopId, MOST, NAME};

    #[test]
    fn a_call_that_comes_back_is_seen_however_it_is_written() {
        let (one, two) = (HopId::new(), HopId::new());
        let mut fields = Fields::default();
        assert!(!one.has_seen(&fields));
        one.sign(&mut fields);
        assert!(one.has_seen(&fields) && !two.has_seen(&fields));
        fields.push(NAME, b"x , y");
        two.sign(&mut fields);
        assert_eq!(fields.get_str(NAME), Some(format!("{},x,y,{}", one.0, two.0).as_str()));
        assert_eq!(fields.get_all(NAME).count(), 1);
        assert!(one.has_seen(&fields) && two.has_seen(&fields) && !HopId::new().has_seen(&fields));
    }

    #[test]
    fn too_many_hops_are_a_loop_too() {
        let mut fields = Fields::default();
        for _ in 0..MOST {
            fields.push(NAME, b"someone");
        }
        assert!(!HopId::new().has_seen(&fields));
        fields.push(NAME, b"");
        assert!(HopId::new().has_seen(&fields), "an empty one counts: it costs as much");
    }
}
