//! The seventeen status codes of gRPC, as numbers and in both spellings that people use.

/// A gRPC status code (<https://grpc.io/docs/guides/status-codes/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// 0: success.
    Ok = 0,
    /// 1: cancelled, usually by the caller.
    Cancelled = 1,
    /// 2: anything without a better code.
    Unknown = 2,
    /// 3: the caller sent something that can never be right.
    InvalidArgument = 3,
    /// 4: time ran out.
    DeadlineExceeded = 4,
    /// 5: what was asked for is not there.
    NotFound = 5,
    /// 6: what should be made is there already.
    AlreadyExists = 6,
    /// 7: the caller is known and may not.
    PermissionDenied = 7,
    /// 8: a quota or a bound is used up.
    ResourceExhausted = 8,
    /// 9: the system is not in the state that the call needs.
    FailedPrecondition = 9,
    /// 10: a conflict, such as a lost race.
    Aborted = 10,
    /// 11: past the valid range.
    OutOfRange = 11,
    /// 12: not offered here.
    Unimplemented = 12,
    /// 13: an invariant is broken.
    Internal = 13,
    /// 14: not reachable now; a repeat may help.
    Unavailable = 14,
    /// 15: data is lost for good.
    DataLoss = 15,
    /// 16: the caller is not known.
    Unauthenticated = 16,
}

impl Code {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The number that `grpc-status` carries.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code of a number; a number outside the list counts as [`Code::Unknown`], as grpc clients read it.
    pub fn of(number: u32) -> Self {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number)).copied().unwrap_or(Self::Unknown)
    }

    /// Reads the value of `grpc-status`; `None` if it is no number.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.is_empty() || value.len() > 9 {
            return None;
        }
        let mut number = 0u32;
        for byte in value {
            number = number * 10 + u32::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
        }
        Some(Self::of(number))
    }

    /// The value of `grpc-status`.
    pub fn digits(self) -> &'static str {
        const DIGITS: [&str; 17] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        DIGITS[self as usize]
    }

    /// The spelling of the specification, logs and errors: `UNAVAILABLE`.
    pub fn as_str(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        NAMES[self as usize]
    }

    /// The spelling of grpc-go, which the `grpc_server_*` metrics use: `Unavailable`.
    pub fn as_camel(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "Canceled",
            "Unknown",
            "InvalidArgument",
            "DeadlineExceeded",
            "NotFound",
            "AlreadyExists",
            "PermissionDenied",
            "ResourceExhausted",
            "FailedPrecondition",
            "Aborted",
            "OutOfRange",
            "Unimplemented",
            "Internal",
            "Unavailable",
            "DataLoss",
            "Unauthenticated",
        ];
        NAMES[self as usize]
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn numbers_and_codes_agree() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(Code::parse(code.digits().as_bytes()), Some(code));
        }
        assert_eq!(Code::of(17), Code::Unknown);
        assert_eq!(Code::parse(b"99"), Some(Code::Unknown));
        for bad in [&b""[..], b"x", b"-1", b"1 ", b"99999999999"] {
            assert_eq!(Code::parse(bad), None);
        }
    }
}
