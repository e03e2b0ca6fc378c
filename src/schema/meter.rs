//! How much work a reader may still do. Whoever lets strangers' octets decide how long something takes hands one in.

/// Work that is left. One step is about what evaluating one node of an expression takes; passing a field on the wire is a quarter.
#[derive(Debug)]
pub struct Meter {
    left: u64,
}

/// No work is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent;

const PARTS: u64 = 16;
/// Parts of a step.
const FIELD: u64 = 4;

impl Meter {
    /// So many steps and no more.
    pub fn new(steps: u64) -> Self {
        Self { left: steps.saturating_mul(PARTS) }
    }

    /// Steps that are left.
    pub fn left(&self) -> u64 {
        self.left / PARTS
    }

    /// # Errors
    /// There are not so many left.
    pub fn spend(&mut self, steps: usize) -> Result<(), Spent> {
        self.take((steps as u64).saturating_mul(PARTS))
    }

    /// For work by octets, of which a step is 64.
    ///
    /// # Errors
    /// There is not so much left.
    pub fn spend_octets(&mut self, octets: usize) -> Result<(), Spent> {
        self.take(octets as u64 / 4)
    }

    /// # Errors
    /// None is left.
    pub(super) fn spend_field(&mut self) -> Result<(), Spent> {
        self.take(FIELD)
    }

    fn take(&mut self, parts: u64) -> Result<(), Spent> {
        match self.left.checked_sub(parts) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Spent)
            }
        }
    }
}
