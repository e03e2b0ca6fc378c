mod handshakes;
mod identities;
mod loading;
mod pki;
mod streams;
mod trusting;
