//! Filters that read messages: one judges them, one puts other bodies in their place. What they do follows from a body's length, so that
//! every kind of end is reached.

use std::time::Duration;

use filter_api::{
    CallFilter, Code, Depth, Filter, Known, Message, Phase, Reads, Reason, Refusal, RequestView, Start, Verdict,
};

/// What configurations name them by.
pub(crate) const READERS: [Known; 2] = [
    Known {
        name: "judge",
        phase: Phase::Authorize,
        schema: Default::default,
        build: |value, _| Ok(Box::new(Reader { masks: false, waits: value["waits"] == true })),
    },
    Known {
        name: "mask",
        phase: Phase::Transform,
        schema: Default::default,
        build: |value, _| Ok(Box::new(Reader { masks: true, waits: value["waits"] == true })),
    },
];

#[derive(Clone, Copy)]
struct Reader {
    masks: bool,
    waits: bool,
}

impl Filter for Reader {
    fn reads(&self) -> Reads {
        Reads { request: Depth::Bodies, response: Depth::Bodies }
    }

    fn request_head(&self, _: &mut RequestView<'_>) -> Start {
        let one = *self;
        if !self.waits {
            return Start::Follow(Box::new(one));
        }
        Start::Wait(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Start::Follow(Box::new(one))
        }))
    }
}

impl CallFilter for Reader {
    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        // Nobody has another body before the one that judges.
        let same = message.body.is_some_and(|body| body.len() == message.size as usize);
        assert!(same || message.compressed || self.masks);
        self.look(message)
    }

    fn response_message(&mut self, message: &Message<'_>) -> Verdict {
        self.look(message)
    }
}

impl Reader {
    fn look(self, message: &Message<'_>) -> Verdict {
        let body = message.body.expect("bodies are read, and must be there");
        match body.len() % 8 {
            3 if !self.masks => {
                Verdict::Refuse(Box::new(Refusal::new(Code::PermissionDenied, Reason::Filter, "three too many")))
            }
            4 if self.masks => Verdict::Replace(vec![0; body.len() * 2]),
            5 if self.masks => Verdict::Replace(Vec::new()),
            _ => Verdict::Pass,
        }
    }
}
